"""GGUF writer for Moshi's files: version 2, no metadata, matrices as Q8_0 (docs/model.md 4.5)."""

from __future__ import annotations

import struct
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

_ALIGNMENT = 32
_BLOCK = 32
_F32, _Q8_0 = 0, 8


def gguf(tensors: Mapping[str, Tensor]) -> bytes:
    """The file. Matrices whose rows divide into blocks of 32 become Q8_0, everything else float32."""
    header = b"GGUF" + struct.pack("<IQQ", 2, len(tensors), 0)
    data = bytearray()
    for name, tensor in tensors.items():
        quantised = tensor.dim() == 2 and tensor.shape[1] % _BLOCK == 0
        header += struct.pack("<Q", len(name)) + name.encode() + struct.pack("<I", tensor.dim())
        header += struct.pack(f"<{tensor.dim()}Q", *reversed(tensor.shape))
        header += struct.pack("<IQ", _Q8_0 if quantised else _F32, len(data))
        data += _q8_0(tensor) if quantised else tensor.float().numpy().astype("<f4").tobytes()
        data += bytes(-len(data) % _ALIGNMENT)
    return header + bytes(-len(header) % _ALIGNMENT) + bytes(data)


def _q8_0(weight: Tensor) -> bytes:
    """Blocks of 34 bytes: a float16 scale, the largest magnitude / 127, and 32 rounded quotients."""
    blocks = weight.float().reshape(-1, _BLOCK)
    scales = blocks.abs().amax(dim=1, keepdim=True) / 127
    quotients = blocks * torch.where(scales == 0, 0, 1 / scales)
    away_from_zero = torch.trunc(quotients + 0.5 * quotients.sign())
    made: npt.NDArray[np.void] = np.empty(len(blocks), np.dtype([("scale", "<f2"), ("codes", "i1", (_BLOCK,))]))
    made["scale"] = scales[:, 0].numpy()
    made["codes"] = away_from_zero.to(torch.int8).numpy()
    return made.tobytes()

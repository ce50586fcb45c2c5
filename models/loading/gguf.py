"""GGUF reader for Moshi's files: names and shapes, float tensors, and Q8_0 (docs/model.md 4.5)."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from moshi_cluster.models.layers.quantised import QuantisedMatrix, Stored
from moshi_cluster.models.loading.gguf_header import read_gguf_header
from moshi_cluster.models.loading.safetensors_header import TensorEntry
from moshi_cluster.models.loading.tensor_file import TensorFile

_FLOATS = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
_BLOCK = 32
_Q8_0 = np.dtype([("scale", "<f2"), ("codes", "i1", (_BLOCK,))])


class GgufFile(TensorFile[Stored]):
    """The tensors of one GGUF file by name: floats as they are, Q8_0 as quantised matrices."""

    def _read_header(self) -> Mapping[str, TensorEntry]:
        return read_gguf_header(self.path)

    def _decoded(self, entry: TensorEntry, values: Tensor) -> Stored:
        if entry.stored_type != "Q8_0":  # the header lets nothing but floats through beside it
            return values.view(_FLOATS[entry.stored_type]).view(entry.shape)
        blocks = values.numpy().view(_Q8_0).reshape(math.prod(entry.shape[:-1]), entry.shape[-1] // _BLOCK)
        codes = torch.from_numpy(np.ascontiguousarray(blocks["codes"])).flatten(1)
        return QuantisedMatrix(codes, torch.from_numpy(np.ascontiguousarray(blocks["scale"])))

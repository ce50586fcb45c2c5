"""Roofline floors: bytes that one step must read and operations it must do, counted from the weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from benchmarks.offline.rates import Rates
from moshi_cluster.models.mimi import DEFAULT_CODEBOOKS, MimiConfig


@dataclass(frozen=True)
class Work:
    """Work of one step: every weight is read once, whatever the batch, and every session's keys and values are."""

    read_bytes: float
    operations: float  # a multiply-add is two
    dtype: torch.dtype

    def floor_ms(self, rates: Rates) -> tuple[float, float]:
        """Milliseconds to read the bytes, milliseconds to do the operations; the larger one is the floor."""
        return rates.read_ms(self.read_bytes), rates.multiply_ms(self.operations, self.dtype)


def lm_work(tensors: Mapping[str, Tensor], config: Mapping[str, Any], batch: int, held_frames: int) -> Work:
    """An LM step of `batch` sessions that hold so many frames each. Tables of embeddings are not read as a whole."""
    weights = sum(tensor.numel() for name, tensor in tensors.items() if "emb." not in name)
    held = batch * held_frames * config["num_layers"] * 2 * config["dim"]  # keys and values
    return Work(2 * (weights + held), 2 * (batch * weights + held), torch.bfloat16)


def mimi_work(tensors: Mapping[str, Tensor], config: MimiConfig, batch: int, held_positions: int) -> Work:
    """A codec frame, encoded and decoded, of `batch` sessions with so many positions in either transformer."""
    uses = {name: _uses_per_frame(name, config) for name in tensors}
    sizes = {name: tensor.numel() for name, tensor in tensors.items() if uses[name]}
    operations = sum(sizes[name] * uses[name] for name in sizes)
    kv = 2 * config.layers * 2 * config.latent_width * held_positions
    attention = kv * config.positions_per_frame
    return Work(4 * (sum(sizes.values()) + batch * kv), 2 * batch * (operations + attention), torch.float32)


def _uses_per_frame(name: str, config: MimiConfig) -> int:
    """How often a frame multiplies by each value of a tensor."""
    first, _, rest = name.partition(".")
    if first == "quantizer":
        return _uses_of_quantizer(name)
    if first in ("encoder", "decoder"):
        return _uses_of_convolution(first, int(rest.split(".")[1]), config)
    if first in ("encoder_transformer", "decoder_transformer"):
        return config.positions_per_frame
    return 1  # resampling


def _uses_of_quantizer(name: str) -> int:
    """Centroids are searched once to encode; that decoding looks one up is not counted. Projections run once."""
    if not name.endswith("embedding_sum"):
        return int(name.endswith("_proj.weight"))
    return int("rvq_first" in name or int(name.split(".")[4]) < DEFAULT_CODEBOOKS - 1)


def _uses_of_convolution(side: str, module: int, config: MimiConfig) -> int:
    """Output steps of a convolution, input steps of a transposed one; modules are numbered as upstream does.

    Encoder: 0, then residual block, ELU, strided convolution per ratio. Decoder: 0, then ELU, transposed convolution,
    residual block per ratio.
    """
    if side == "encoder":
        steps = config.frame_samples
        for ratio in list(reversed(config.ratios))[: module // 3]:
            steps //= ratio
        return steps
    steps = config.positions_per_frame
    for ratio in config.ratios[: module // 3]:
        steps *= ratio
    return steps

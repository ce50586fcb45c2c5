"""Memory of a session of the LM, and how many sessions fit."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from moshi_cluster.models.kernels.ring_attention import split_places
from moshi_cluster.models.mimi.sizes import CodecRoom
from moshi_cluster.models.moshi_lm.config import LmConfig
from moshi_cluster.models.moshi_lm.kv_buffer import vector_bytes

_MB = 1_000_000
RUNTIME_BYTES = 500 * _MB
"""Recorded steps, workspaces, and what the allocator leaves between tensors: below 100 MB on an H200, torch 2.11."""
_LAYER_WIDTHS = 16  # of the model's width: residual stream, queries, keys and values, both halves of the gate
_DEPTH_PARTS = 3  # queries, keys and values of every step, kept for a frame


@dataclass(frozen=True)
class SlotSize:
    """Keys and values of one session's window."""

    layers: int
    heads: int
    head_dim: int
    context: int  # frames
    dtype: torch.dtype

    @property
    def nbytes(self) -> int:
        return 2 * self.layers * self.heads * self.context * vector_bytes(self.head_dim, self.dtype)

    def __str__(self) -> str:
        kind = "8 bits" if self.dtype == torch.int8 else str(self.dtype).removeprefix("torch.")
        vector = vector_bytes(self.head_dim, self.dtype)
        return (
            f"{self.nbytes / _MB:.4g} MB (keys and values of {self.layers} layers x {self.heads} heads x "
            f"{self.context} frames x {vector} bytes, {kind})"
        )


def slot_size(config: LmConfig, context: int | None, dtype: torch.dtype, spare_frames: int = 0) -> SlotSize:
    """context: frames attended to, if fewer than the configuration's; dtype: of keys and values, int8 for 8 bits;
    spare_frames: places beyond the context."""
    frames = min(context or config.context, config.context) + spare_frames
    return SlotSize(config.num_layers, config.num_heads, config.dim // config.num_heads, frames, dtype)


@dataclass(frozen=True)
class StepSize:
    """What a static step of so many rows needs beside the weights and the slots."""

    config: LmConfig
    rows: int
    places: int  # of a ring

    @property
    def nbytes(self) -> int:
        """The widest tensors at once, and what the device's runtime takes."""
        config = self.config
        logits = config.text_card_out * (2 * torch.float32.itemsize + torch.bfloat16.itemsize)
        layer = _LAYER_WIDTHS * config.dim * torch.float32.itemsize
        split = split_places(self.rows * config.num_heads, self.places)
        splits = -(-self.places // split) * (config.dim + 2 * config.num_heads) * torch.float32.itemsize
        depth = (
            _DEPTH_PARTS * config.depformer_num_layers * config.dep_q * config.depformer_dim * torch.float32.itemsize
        )
        return self.rows * (logits + layer + splits + depth) + RUNTIME_BYTES

    def __str__(self) -> str:
        return f"{self.nbytes / _MB:.0f} MB for a step of {self.rows} rows and the device's runtime"


@dataclass(frozen=True)
class Fit:
    """How many sessions free memory holds, with the arithmetic."""

    free_bytes: int
    share: float  # of the free memory that slots may take; the rest is for what is not known, and for others
    slot: SlotSize
    step: StepSize | None = None  # of the static step, whose memory is known
    codec: CodecRoom | None = None  # left for one on the same device

    @property
    def slots(self) -> int:
        taken_bytes = (self.step.nbytes if self.step else 0) + (self.codec.fixed_bytes if self.codec else 0)
        each_bytes = self.slot.nbytes + (self.codec.session_bytes if self.codec else 0)
        return max(0, int((self.free_bytes - taken_bytes) * self.share)) // each_bytes

    def __str__(self) -> str:
        free, each = f"{self.free_bytes / _MB:.0f} MB free", str(self.slot)
        if self.step:
            free += f" - {self.step}"
        if self.codec:
            free += f" - {self.codec.fixed_bytes / _MB:.0f} MB for a codec beside it"
            each += f" and {self.codec.session_bytes / _MB:.0f} MB of the codec"
        if self.step or self.codec:
            free = f"({free})"
        return f"{self.slots} slots fit: {free} x {self.share:g} / {each} each"

"""Memory of the codec's static steps: what a session holds, and what a step needs while it runs (docs/gpu.md)."""

from __future__ import annotations

from dataclasses import dataclass

from moshi_cluster.models.mimi.config import MimiConfig

_MB = 1_000_000
_FLOAT_BYTES = 4
_HALVES = 2  # encoder and decoder
_WEIGHT_BYTES = 400 * _MB  # of the published codec, with the matrices that are made of them
_CONTEXT_BYTES = 500 * _MB  # of a process on a device; an estimate, as the next one
RUNTIME_BYTES = 300 * _MB
"""Recorded steps and workspaces."""


@dataclass(frozen=True)
class CodecSize:
    """Sizes of one codec's tensors, both halves together."""

    config: MimiConfig

    @property
    def session_bytes(self) -> int:
        """Keys and values, what the convolutions remember, and a count of frames."""
        config = self.config
        rings = 2 * config.layers * config.heads * config.context * config.head_width
        return _HALVES * (rings * _FLOAT_BYTES + 8) + sum(history_floats(config)) * _FLOAT_BYTES

    @property
    def row_bytes(self) -> int:
        """At most, of a step of both halves at its widest, next to the samples: input, windows of a kernel, output."""
        config = self.config
        widest = config.frame_samples * config.base_filters * _FLOAT_BYTES
        return round(_HALVES * widest * (config.residual_kernel + 3.25))

    def step_bytes(self, rows: int) -> int:
        """What steps of so many rows need beside the sessions."""
        return rows * self.row_bytes + RUNTIME_BYTES

    def __str__(self) -> str:
        config = self.config
        return (
            f"{self.session_bytes / _MB:.4g} MB (encoder and decoder: keys and values of {config.layers} layers x "
            f"{config.heads} heads x {config.context} places x {4 * config.head_width} bytes, and convolutions' inputs)"
        )


def history_floats(config: MimiConfig) -> tuple[int, int]:
    """What the convolutions of encoder and decoder remember: a kernel less its stride of inputs each."""
    resampled = config.positions_per_frame * config.latent_width
    encoder = (config.kernel - 1) + resampled
    decoder = (config.kernel - 1) * config.latent_width + config.latent_width
    width = config.base_filters
    for ratio in reversed(config.ratios):
        encoder += (config.residual_kernel - 1) * width + ratio * width
        decoder += 2 * width + (config.residual_kernel - 1) * width
        width *= 2
    encoder += (config.last_kernel - 1) * width
    decoder += (config.last_kernel - 1) * config.base_filters
    return encoder, decoder


@dataclass(frozen=True)
class CodecRoom:
    """Memory that a codec in another process needs on the same device."""

    size: CodecSize
    spare_rows: int = 64  # of the bucket above its sessions

    @property
    def fixed_bytes(self) -> int:
        """Its process, its weights, and what does not go by sessions."""
        return _CONTEXT_BYTES + _WEIGHT_BYTES + self.size.step_bytes(self.spare_rows)

    @property
    def session_bytes(self) -> int:
        """A session's state and row."""
        return self.size.session_bytes + self.size.row_bytes

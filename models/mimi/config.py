"""Configuration of a Mimi codec: its sizes (docs/model.md 1.1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

# Choices that the published codec makes and this implementation fixes, by section and key of the JSON.
_FIXED: dict[str, dict[str, Any]] = {
    "": {"channels": 1},
    "seanet": {
        "channels": 1,
        "causal": True,
        "n_residual_layers": 1,
        "activation": "ELU",
        "norm": "none",
        "pad_mode": "constant",
        "true_skip": True,
    },
    "transformer": {
        "causal": True,
        "conv_layout": True,
        "gating": "none",
        "norm": "layer_norm",
        "positional_embedding": "rope",
    },
    "quantizer": {},
}


@dataclass(frozen=True)
class MimiConfig:
    """Sizes of the codec; the defaults are those of the published checkpoint."""

    sample_rate_hz: int = 24000
    frame_rate_hz: float = 12.5
    latent_width: int = 512
    base_filters: int = 64
    ratios: tuple[int, ...] = (8, 6, 5, 4)  # up-sampling factors in decoder order; the encoder goes backwards
    kernel: int = 7  # of the first convolution of encoder and decoder
    residual_kernel: int = 3
    last_kernel: int = 3
    compress: int = 2  # a residual block is this much narrower inside
    layers: int = 8  # of each of the two transformers, like all that follows
    heads: int = 8
    feed_forward: int = 2048
    context: int = 250  # positions before down-sampling, two per frame
    max_period: float = 10000.0
    codebooks: int = 32  # stored; Mimi.from_tensors chooses how many are active
    bins: int = 2048
    codebook_width: int = 256

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> MimiConfig:
        """From the JSON beside a checkpoint; absent keys keep the published value.

        Raises ValueError, naming the key, for a codec of another structure.
        """
        sections = {name: given if name == "" else given.get(name, {}) for name in _FIXED}
        for section, choices in _FIXED.items():
            for key, value in choices.items():
                _require(f"{section}.{key}".lstrip("."), sections[section].get(key, value), value)
        seanet, transformer, quantizer = (sections[name] for name in ("seanet", "transformer", "quantizer"))
        published = cls()
        width = seanet.get("dimension", published.latent_width)
        for key in ("d_model", "input_dimension"):
            _require(f"transformer.{key}", transformer.get(key, width), width)
        for key in ("input_dimension", "output_dimension"):
            _require(f"quantizer.{key}", quantizer.get(key, width), width)
        return cls(
            sample_rate_hz=given.get("sample_rate", published.sample_rate_hz),
            frame_rate_hz=given.get("frame_rate", published.frame_rate_hz),
            latent_width=width,
            base_filters=seanet.get("n_filters", published.base_filters),
            ratios=tuple(seanet.get("ratios", published.ratios)),
            kernel=seanet.get("kernel_size", published.kernel),
            residual_kernel=seanet.get("residual_kernel_size", published.residual_kernel),
            last_kernel=seanet.get("last_kernel_size", published.last_kernel),
            compress=seanet.get("compress", published.compress),
            layers=transformer.get("num_layers", published.layers),
            heads=transformer.get("num_heads", published.heads),
            feed_forward=transformer.get("dim_feedforward", published.feed_forward),
            context=transformer.get("context", published.context),
            max_period=transformer.get("max_period", published.max_period),
            codebooks=quantizer.get("n_q", published.codebooks),
            bins=quantizer.get("bins", published.bins),
            codebook_width=quantizer.get("dimension", published.codebook_width),
        )

    @property
    def frame_samples(self) -> int:
        """Samples per frame: 1920."""
        return round(self.sample_rate_hz / self.frame_rate_hz)

    @property
    def hop_samples(self) -> int:
        """Samples per position of the transformers: 960."""
        return prod(self.ratios)

    @property
    def positions_per_frame(self) -> int:
        """Positions of the transformers per frame: 2."""
        return self.frame_samples // self.hop_samples

    @property
    def head_width(self) -> int:
        """Width of one attention head: 64."""
        return self.latent_width // self.heads


def _require(key: str, value: object, supported: object) -> None:
    if value != supported:
        raise ValueError(f"mimi config: {key} = {value!r} is not supported, only {supported!r}")

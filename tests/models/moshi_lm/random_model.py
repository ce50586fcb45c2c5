"""Tiny models with random weights, in the published layout, for any configuration."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor

from moshi_cluster.models.moshi_lm import LmConfig, MoshiLm

MOSHI_LIKE: dict[str, Any] = {
    "dim": 32,
    "num_layers": 2,
    "num_heads": 2,
    "n_q": 6,
    "dep_q": 3,
    "card": 24,
    "text_card": 40,
    "delays": [0, 0, 1, 1, 0, 1, 1],
    "context": 7,
    "max_period": 10000,
    "hidden_scale": 4.125,
    "gating": "silu",
    "norm": "rms_norm_f32",
    "positional_embedding": "rope",
    "depformer_dim": 16,
    "depformer_num_layers": 2,
    "depformer_num_heads": 2,
    "depformer_dim_feedforward": 66,
    "depformer_gating": "silu",
    "depformer_pos_emb": "none",
    "depformer_multi_linear": True,
    "depformer_weights_per_step": True,
}
# More user than own streams, delays of 2, shared weights, low-rank embeddings.
HIBIKI_LIKE = MOSHI_LIKE | {
    "n_q": 7,
    "delays": [0, 0, 2, 2, 0, 2, 2, 2],
    "depformer_weights_per_step_schedule": [0, 1, 1],
    "depformer_low_rank_embeddings": 4,
}
# No Depth Transformer and no delay.
LISTENING = MOSHI_LIKE | {"dep_q": 0, "delays": [0] * 7, "gating": "none", "norm": "layer_norm"}
# Text that comes later than the codes: no published model has it, config.json can say it.
LATE_TEXT = MOSHI_LIKE | {"delays": [2, 0, 1, 1, 0, 1, 1]}
# Keys and values shared by heads, the other pairs of rotary positions, a norm before each head of the depth.
ZERO_LIKE = HIBIKI_LIKE | {
    "positional_embedding": "rope_concat",
    "kv_repeat": 2,
    "depformer_norm": "layer_norm",
}
# Positions that are added to the input, as in upstream's own test.
SINES = MOSHI_LIKE | {"positional_embedding": "sin_rope", "depformer_pos_emb": "sin", "depformer_max_period": 100.0}
KINDS = {
    "moshi": MOSHI_LIKE,
    "hibiki": HIBIKI_LIKE,
    "zero": ZERO_LIKE,
    "sines": SINES,
    "listening": LISTENING,
    "late text": LATE_TEXT,
}


def random_tensors(config: dict[str, Any]) -> dict[str, Tensor]:
    """Weights of normal size, so that activations and choices are diverse."""
    weights = _RandomWeights(config)
    tensors = weights.norm("out_norm", config["dim"]) | weights.temporal()
    return tensors | weights.depth() if config["dep_q"] else tensors


class _RandomWeights:
    """Weights of one configuration, drawn one after the other: what is made earlier decides what comes later."""

    def __init__(self, config: dict[str, Any]) -> None:
        self._config = config
        self._generator = torch.Generator().manual_seed(1)

    def temporal(self) -> dict[str, Tensor]:
        """The embeddings, the Temporal Transformer and the text head."""
        config, dim = self._config, self._config["dim"]
        tensors = {"text_emb.weight": self._matrix(config["text_card"] + 1, dim)}
        tensors["text_linear.weight"] = self._matrix(config["text_card"], dim) * 3
        for k in range(config["n_q"]):
            tensors[f"emb.{k}.weight"] = self._matrix(config["card"] + 1, dim)
        for i in range(config["num_layers"]):
            layer = f"transformer.layers.{i}"
            tensors |= self._attention(layer, dim, 1) | self._feed_forward(layer, dim)
        return tensors

    def depth(self) -> dict[str, Tensor]:
        """The Depth Transformer, its inputs and its heads."""
        config, depth, steps = self._config, self._config["depformer_dim"], self._config["dep_q"]
        blocks = max(config.get("depformer_weights_per_step_schedule") or range(steps)) + 1
        tensors = self._depth_embeddings(depth, steps)
        for k in range(steps):
            tensors[f"linears.{k}.weight"] = self._matrix(config["card"], depth) * 3
            if kind := config.get("depformer_norm"):
                tensors |= self.norm(f"depformer_norms.{k}", depth, kind)
        for block in range(blocks):
            tensors[f"depformer_in.{block}.weight"] = self._matrix(depth, config["dim"])
        for i in range(config["depformer_num_layers"]):
            layer = f"depformer.layers.{i}"
            tensors |= self._attention(layer, depth, blocks)
            for block in range(blocks):
                tensors |= self._gate(f"{layer}.gating.{block}", depth, 2 * config["depformer_dim_feedforward"] // 3)
        return tensors

    def norm(self, name: str, width: int, kind: str | None = None) -> dict[str, Tensor]:
        scale = torch.rand(width, generator=self._generator) + 0.5
        if (kind or self._config["norm"]).startswith("rms"):
            return {f"{name}.alpha": scale.view(1, 1, width)}
        return {f"{name}.weight": scale, f"{name}.bias": torch.randn(width, generator=self._generator) * 0.1}

    def _depth_embeddings(self, depth: int, steps: int) -> dict[str, Tensor]:
        """Of the text, then of every code but the last."""
        tensors, rank = {}, self._config.get("depformer_low_rank_embeddings")
        cards = {"depformer_text_emb": self._config["text_card"]}
        cards |= {f"depformer_emb.{k}": self._config["card"] for k in range(steps - 1)}
        for name, card in cards.items():
            tensors[f"{name}.weight"] = self._matrix(card + 1, rank or depth)
            if rank:
                tensors[f"{name}.low_rank.weight"] = self._matrix(depth, rank)
        return tensors

    def _feed_forward(self, layer: str, dim: int) -> dict[str, Tensor]:
        if self._config["gating"] == "silu":
            return self._gate(f"{layer}.gating", dim, 2 * int(self._config["hidden_scale"] * dim) // 3)
        return {
            f"{layer}.linear1.weight": self._matrix(4 * dim, dim),
            f"{layer}.linear2.weight": self._matrix(dim, 4 * dim),
        }

    def _attention(self, layer: str, width: int, blocks: int) -> dict[str, Tensor]:
        stored = width + 2 * width // self._config.get("kv_repeat", 1)
        return {
            f"{layer}.self_attn.in_proj_weight": self._matrix(blocks * stored, width),
            f"{layer}.self_attn.out_proj.weight": self._matrix(blocks * width, width),
            **self.norm(f"{layer}.norm1", width),
            **self.norm(f"{layer}.norm2", width),
        }

    def _gate(self, name: str, width: int, hidden: int) -> dict[str, Tensor]:
        return {
            f"{name}.linear_in.weight": self._matrix(2 * hidden, width),
            f"{name}.linear_out.weight": self._matrix(width, hidden),
        }

    def _matrix(self, rows: int, columns: int) -> Tensor:
        return torch.randn(rows, columns, generator=self._generator) * columns**-0.5


@cache
def random_lm(kind: str = "moshi", dtype: torch.dtype = torch.float32) -> MoshiLm:
    return MoshiLm.from_tensors(random_tensors(KINDS[kind]), LmConfig.from_dict(KINDS[kind]), dtype)

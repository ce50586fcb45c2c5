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
KINDS = {"moshi": MOSHI_LIKE, "hibiki": HIBIKI_LIKE, "listening": LISTENING, "late text": LATE_TEXT}


def random_tensors(config: dict[str, Any]) -> dict[str, Tensor]:
    """Weights of normal size, so that activations and choices are diverse."""
    generator = torch.Generator().manual_seed(1)

    def matrix(rows: int, columns: int) -> Tensor:
        return torch.randn(rows, columns, generator=generator) * columns**-0.5

    def norm(name: str, width: int) -> dict[str, Tensor]:
        scale = torch.rand(width, generator=generator) + 0.5
        if config["norm"].startswith("rms"):
            return {f"{name}.alpha": scale.view(1, 1, width)}
        return {f"{name}.weight": scale, f"{name}.bias": torch.randn(width, generator=generator) * 0.1}

    def attention(layer: str, width: int, blocks: int) -> dict[str, Tensor]:
        return {
            f"{layer}.self_attn.in_proj_weight": matrix(blocks * 3 * width, width),
            f"{layer}.self_attn.out_proj.weight": matrix(blocks * width, width),
            **norm(f"{layer}.norm1", width),
            **norm(f"{layer}.norm2", width),
        }

    def gate(name: str, width: int, hidden: int) -> dict[str, Tensor]:
        return {
            f"{name}.linear_in.weight": matrix(2 * hidden, width),
            f"{name}.linear_out.weight": matrix(width, hidden),
        }

    dim, depth, steps = config["dim"], config["depformer_dim"], config["dep_q"]
    blocks = max(config.get("depformer_weights_per_step_schedule") or range(steps), default=-1) + 1
    rank = config.get("depformer_low_rank_embeddings")
    tensors = norm("out_norm", dim)
    tensors["text_emb.weight"] = matrix(config["text_card"] + 1, dim)
    tensors["text_linear.weight"] = matrix(config["text_card"], dim) * 3
    for k in range(config["n_q"]):
        tensors[f"emb.{k}.weight"] = matrix(config["card"] + 1, dim)
    for i in range(config["num_layers"]):
        layer = f"transformer.layers.{i}"
        tensors |= attention(layer, dim, 1)
        if config["gating"] == "silu":
            tensors |= gate(f"{layer}.gating", dim, 2 * int(config["hidden_scale"] * dim) // 3)
        else:
            tensors[f"{layer}.linear1.weight"] = matrix(4 * dim, dim)
            tensors[f"{layer}.linear2.weight"] = matrix(dim, 4 * dim)
    if steps == 0:
        return tensors
    names = ["depformer_text_emb", *(f"depformer_emb.{k}" for k in range(steps - 1))]
    for name, vocabulary in zip(names, [config["text_card"] + 1] + [config["card"] + 1] * (steps - 1), strict=True):
        tensors[f"{name}.weight"] = matrix(vocabulary, rank or depth)
        if rank:
            tensors[f"{name}.low_rank.weight"] = matrix(depth, rank)
    for k in range(steps):
        tensors[f"linears.{k}.weight"] = matrix(config["card"], depth) * 3
    for block in range(blocks):
        tensors[f"depformer_in.{block}.weight"] = matrix(depth, dim)
    for i in range(config["depformer_num_layers"]):
        layer = f"depformer.layers.{i}"
        tensors |= attention(layer, depth, blocks)
        for block in range(blocks):
            tensors |= gate(f"{layer}.gating.{block}", depth, 2 * config["depformer_dim_feedforward"] // 3)
    return tensors


@cache
def random_lm(kind: str = "moshi", dtype: torch.dtype = torch.float32) -> MoshiLm:
    return MoshiLm.from_tensors(random_tensors(KINDS[kind]), LmConfig.from_dict(KINDS[kind]), dtype)

"""A randomly initialised LM in the published layout.

The gains keep activations of normal size through any depth, so that tokens are diverse and numerically harmless: the
residual stream starts near 2 and grows by about 1 a layer, and logits have a standard deviation of 2 to 3.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from moshi_cluster.tools.random_tensors import RandomTensors

_EMBEDDING_STD = 0.45  # 17 of them are summed
_COMMON_STD = 0.5
_PADDING_GAIN = 75.0  # about three text tokens of four are padding


def random_lm(config: Mapping[str, Any], seed: int) -> dict[str, Tensor]:
    """bfloat16 tensors under the published names, for the LM part of a config.json."""
    made = RandomTensors(seed)
    _embeddings(made, config)
    _temporal(made, config)
    _depth(made, config)
    _speak_seldom(made.tensors, config)
    return {name: tensor.to(torch.bfloat16).contiguous() for name, tensor in made.tensors.items()}


def _embeddings(made: RandomTensors, config: Mapping[str, Any]) -> None:
    dim, audio_rows, text_rows = config["dim"], config["card"] + 1, config["text_card"] + 1
    for codebook in range(config["n_q"]):
        made.normal(f"emb.{codebook}.weight", (audio_rows, dim), _EMBEDDING_STD)
    made.normal("text_emb.weight", (text_rows, dim), _EMBEDDING_STD)
    depth_dim = config["depformer_dim"]
    made.normal("depformer_text_emb.weight", (text_rows, depth_dim), 1.0)
    for codebook in range(config["dep_q"] - 1):
        made.normal(f"depformer_emb.{codebook}.weight", (audio_rows, depth_dim), 1.0)


def _temporal(made: RandomTensors, config: Mapping[str, Any]) -> None:
    dim = config["dim"]
    hidden = 2 * int(config["hidden_scale"] * dim) // 3
    for layer in range(config["num_layers"]):
        prefix = f"transformer.layers.{layer}"
        _attention(made, prefix, dim, steps=1)
        _feed_forward(made, f"{prefix}.gating", dim, hidden)
    made.normal("out_norm.alpha", (1, 1, dim), 0.15, mean=1.0)
    made.product("text_linear.weight", (config["text_card"], dim), 2.5)


def _depth(made: RandomTensors, config: Mapping[str, Any]) -> None:
    dim, steps = config["depformer_dim"], config["dep_q"]
    hidden = 2 * config["depformer_dim_feedforward"] // 3
    for layer in range(config["depformer_num_layers"]):
        prefix = f"depformer.layers.{layer}"
        _attention(made, prefix, dim, steps)
        for step in range(steps):
            _feed_forward(made, f"{prefix}.gating.{step}", dim, hidden)
    for step in range(steps):
        made.product(f"depformer_in.{step}.weight", (dim, config["dim"]), 1.0)
        made.product(f"linears.{step}.weight", (config["card"], dim), 1.2)


def _attention(made: RandomTensors, prefix: str, dim: int, steps: int) -> None:
    made.product(f"{prefix}.self_attn.in_proj_weight", (steps * 3 * dim, dim), 1.4)
    made.product(f"{prefix}.self_attn.out_proj.weight", (steps * dim, dim), 1.0)
    for norm in ("norm1", "norm2"):
        made.normal(f"{prefix}.{norm}.alpha", (1, 1, dim), 0.15, mean=1.0)


def _feed_forward(made: RandomTensors, prefix: str, dim: int, hidden: int) -> None:
    made.product(f"{prefix}.linear_in.weight", (2 * hidden, dim), 1.3)
    made.product(f"{prefix}.linear_out.weight", (dim, hidden), 1.0)


def _speak_seldom(tensors: dict[str, Tensor], config: Mapping[str, Any]) -> None:
    """Make padding the commonest text token, as in a trained model.

    All text embeddings get a part in common, so that the output has one too, and padding's own row listens to it.
    """
    dim = config["dim"]
    common = torch.tensor([1.0, -1.0]).repeat(dim // 2)
    tensors["text_emb.weight"] += _COMMON_STD * common
    tensors["text_linear.weight"][config["existing_text_padding_id"]] = _PADDING_GAIN / dim * common

"""Random LM weights made on the device, for models too large to be made on the host (see `tools.random_lm`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor


def on_device(config: Mapping[str, Any], device: torch.device) -> dict[str, Tensor]:
    """bfloat16 tensors under the published names, for the LM part of a config.json."""
    made = _Made(device)
    dim, depth_dim, steps = config["dim"], config["depformer_dim"], config["dep_q"]
    audio, text = config["card"] + 1, config["text_card"] + 1
    for codebook in range(config["n_q"]):
        made.product(f"emb.{codebook}.weight", audio, dim)
    for codebook in range(steps - 1):
        made.product(f"depformer_emb.{codebook}.weight", audio, depth_dim)
    made.product("text_emb.weight", text, dim)
    made.product("depformer_text_emb.weight", text, depth_dim)
    for step in range(steps):
        made.product(f"depformer_in.{step}.weight", depth_dim, dim)
        made.product(f"linears.{step}.weight", config["card"], depth_dim)
    hidden = 2 * int(config["hidden_scale"] * dim) // 3
    for layer in range(config["num_layers"]):
        made.layer(f"transformer.layers.{layer}", dim, ["gating"], hidden)
    depth_hidden = 2 * config["depformer_dim_feedforward"] // 3
    for layer in range(config["depformer_num_layers"]):
        gates = [f"gating.{step}" for step in range(steps)]
        made.layer(f"depformer.layers.{layer}", depth_dim, gates, depth_hidden)
    made.ones("out_norm.alpha", dim)
    made.product("text_linear.weight", config["text_card"], dim)
    return made.tensors


class _Made:
    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.tensors: dict[str, Tensor] = {}

    def product(self, name: str, rows: int, columns: int) -> None:
        tensor = torch.randn(rows, columns, device=self._device, dtype=torch.bfloat16)
        self.tensors[name] = tensor.mul_(columns**-0.5)

    def ones(self, name: str, size: int) -> None:
        self.tensors[name] = torch.ones(1, 1, size, device=self._device, dtype=torch.bfloat16)

    def layer(self, name: str, dim: int, gates: Sequence[str], hidden: int) -> None:
        """One layer with as many blocks of weights as it has gates."""
        self.product(f"{name}.self_attn.in_proj_weight", len(gates) * 3 * dim, dim)
        self.product(f"{name}.self_attn.out_proj.weight", len(gates) * dim, dim)
        for gate in gates:
            self.product(f"{name}.{gate}.linear_in.weight", 2 * hidden, dim)
            self.product(f"{name}.{gate}.linear_out.weight", dim, hidden)
        for norm in ("norm1", "norm2"):
            self.ones(f"{name}.{norm}.alpha", dim)

"""Checkpoint export: trained weights under the published names, and whole checkpoints (docs/model.md 2.6)."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from moshi_cluster.models.loading.published import MIMI_NAME
from moshi_cluster.models.moshi_lm.config import LmConfig
from moshi_cluster.tools.checkpoint_sizes import MIMI_CONFIG_NAME, TOKENIZER_NAME
from moshi_cluster.tools.whole_folder import whole_folder
from training.lm.depth import DepthLayer
from training.lm.model import TemporalLayer, TrainableLm


def build(config: dict[str, Any]) -> TrainableLm:
    """An untrained model of the sizes in a config.json."""
    hidden_size = 2 * int(config["hidden_scale"] * config["dim"]) // 3
    depth_hidden_size = 2 * config["depformer_dim_feedforward"] // 3
    return TrainableLm(LmConfig.from_dict(config), hidden_size, depth_hidden_size)


def published(lm: TrainableLm) -> dict[str, Tensor]:
    """Float32 tensors under the names of the released file (docs/model.md 2.6)."""
    *audio, text = lm.tokens.split()
    tensors = {f"emb.{k}.weight": table for k, table in enumerate(audio)}
    tensors |= {"text_emb.weight": text, "text_linear.weight": lm.text_head, "out_norm.alpha": lm.out_norm.alpha}
    for i, layer in enumerate(lm.layers):
        assert isinstance(layer, TemporalLayer)
        name = f"transformer.layers.{i}"
        tensors |= {
            f"{name}.self_attn.in_proj_weight": layer.in_proj,
            f"{name}.self_attn.out_proj.weight": layer.out_proj,
            f"{name}.norm1.alpha": layer.attention_norm.alpha,
            f"{name}.norm2.alpha": layer.feed_forward_norm.alpha,
            f"{name}.gating.linear_in.weight": layer.feed_forward.linear_in,
            f"{name}.gating.linear_out.weight": layer.feed_forward.linear_out,
        }
    tensors |= _published_depth(lm)
    return {
        name: (tensor.view(1, 1, -1) if name.endswith(".alpha") else tensor).detach().clone()
        for name, tensor in tensors.items()
    }


def _published_depth(lm: TrainableLm) -> dict[str, Tensor]:
    depth = lm.depth
    text, *audio = depth.tokens.split()
    tensors = {"depformer_text_emb.weight": text}
    tensors |= {f"depformer_emb.{k}.weight": table for k, table in enumerate(audio)}
    tensors |= {f"depformer_in.{k}.weight": weight for k, weight in enumerate(depth.inputs)}
    tensors |= {f"linears.{k}.weight": weight for k, weight in enumerate(depth.heads)}
    for i, layer in enumerate(depth.layers):
        assert isinstance(layer, DepthLayer)
        name = f"depformer.layers.{i}"
        tensors |= {
            f"{name}.self_attn.in_proj_weight": layer.in_proj.flatten(0, 1),  # one step's rows after the other's
            f"{name}.self_attn.out_proj.weight": layer.out_proj.flatten(0, 1),
            f"{name}.norm1.alpha": layer.attention_norm.alpha,
            f"{name}.norm2.alpha": layer.feed_forward_norm.alpha,
        }
        for step, (linear_in, linear_out) in enumerate(zip(layer.linear_in, layer.linear_out, strict=True)):
            tensors[f"{name}.gating.{step}.linear_in.weight"] = linear_in
            tensors[f"{name}.gating.{step}.linear_out.weight"] = linear_out
    return tensors


def write_checkpoint(folder: Path, lm: TrainableLm, config: dict[str, Any], mimi: Path, tokenizer: Path) -> None:
    """A folder as it would be published; it appears complete or not at all.

    mimi: folder with the codec's weights and configuration; tokenizer: the SentencePiece model.
    """
    with whole_folder(folder) as new:
        tensors = {name: tensor.to(torch.bfloat16) for name, tensor in published(lm).items()}
        (new / config["moshi_name"]).write_bytes(save(tensors))
        (new / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        shutil.copyfile(mimi / MIMI_NAME, new / MIMI_NAME)
        shutil.copyfile(mimi / MIMI_CONFIG_NAME, new / MIMI_CONFIG_NAME)
        shutil.copyfile(tokenizer, new / TOKENIZER_NAME)

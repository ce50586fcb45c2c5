"""Conversion of LM checkpoints from PyTorch's layout to every published one (docs/model.md 4)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from moshi_cluster.models.layers.quantised.quantise import per_group, per_row

Tensors = dict[str, Tensor]


def stacked(tensors: Mapping[str, Tensor]) -> Tensors:
    """PyTorch's names, attention of all blocks in one: `in_projs.{block}.weight` become `in_proj_weight`."""
    made: Tensors = {}
    blocks: dict[str, dict[int, Tensor]] = {}
    for name, tensor in tensors.items():
        match = re.fullmatch(r"(.*\.self_attn)\.(in|out)_projs\.(\d+)\.weight", name)
        if match is None:
            made[name] = tensor
            continue
        joined = f"{match[1]}.{'in_proj_weight' if match[2] == 'in' else 'out_proj.weight'}"
        blocks.setdefault(joined, {})[int(match[3])] = tensor
    return made | {name: torch.cat([parts[block] for block in sorted(parts)]) for name, parts in blocks.items()}


def as_published(tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> Tensors:
    """PyTorch's names, attention stacked: `in_proj_weight`."""
    return dict(tensors)


def as_modules(tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> Tensors:
    """PyTorch's names since 0.2.3, attention by blocks: `in_projs.0.weight`."""
    blocks = max(_schedule(config), default=0) + 1
    made: Tensors = {}
    for name, tensor in tensors.items():
        template = re.sub(r"(in|out)_proj[._]weight$", r"\1_projs.{}.weight", name)
        if template == name:
            made[name] = tensor
            continue
        parts = tensor.chunk(blocks if name.startswith("depformer.") else 1)
        made |= {template.format(block): part.contiguous() for block, part in enumerate(parts)}
    return made


def as_int8(tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> Tensors:
    """Every linear layer in 8 bits, the largest magnitude of each row beside it; embeddings and norms as they are."""
    made: Tensors = {}
    for name, tensor in tensors.items():
        if tensor.dim() != 2 or _is_embedding(name):
            made[name] = tensor
            continue
        matrix = per_row(tensor.half())  # the scales are those of the weights in float16
        made |= {name: matrix.codes, f"{name}_scb": (matrix.scales[:, 0] * 127).contiguous()}
    return made


def as_mlx(tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> Tensors:
    """MLX's names: a whole transformer for every step of the Depth Transformer."""
    made: Tensors = {}
    for name, tensor in _sliced(tensors, config, "depformer.slices.{}"):
        renamed = re.sub(r"^emb\.", "audio_embs.", name).replace("in_proj_weight", "in_proj.weight")
        if renamed.endswith(".alpha"):
            renamed, tensor = renamed.removesuffix(".alpha") + ".weight", tensor.flatten()
        made[renamed] = tensor
    return made


def as_quantised_mlx(bits: int, group: int) -> Callable[[Mapping[str, Tensor], Mapping[str, Any]], Tensors]:
    """MLX's names and groups for every linear layer and embedding, but for columns that do not divide into them."""

    def convert(tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> Tensors:
        made: Tensors = {}
        for name, tensor in as_mlx(tensors, config).items():
            if tensor.dim() != 2 or tensor.shape[1] % group:
                made[name] = tensor
                continue
            matrix, stem = per_group(tensor, bits, group), name.removesuffix(".weight")
            assert matrix.biases is not None
            words = matrix.codes.contiguous().view(torch.uint32)
            made |= {name: words, f"{stem}.scales": matrix.scales, f"{stem}.biases": matrix.biases}
        return made

    return convert


def as_candle(tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> Tensors:
    """Candle's names: MLX's idea, PyTorch's spelling."""
    return dict(_sliced(tensors, config, "depformer.{}"))


def _sliced(tensors: Mapping[str, Tensor], config: Mapping[str, Any], slice_name: str) -> Iterator[tuple[str, Tensor]]:
    """The Depth Transformer step by step, everything else as it is."""
    schedule = _schedule(config)
    blocks = max(schedule, default=-1) + 1
    for name, tensor in tensors.items():
        if not name.startswith(("depformer_in.", "depformer_emb.", "depformer_text_emb.", "depformer.", "linears.")):
            yield name, tensor
    for step, block in enumerate(schedule):
        prefix = slice_name.format(step)
        embedding = f"depformer_emb.{step - 1}." if step else "depformer_text_emb."
        yield f"{prefix}.linear_in.weight", tensors[f"depformer_in.{block}.weight"]
        yield f"{prefix}.linear_out.weight", tensors[f"linears.{step}.weight"]
        for name, tensor in tensors.items():
            if name.startswith(embedding):
                yield f"{prefix}.emb.{name.removeprefix(embedding)}", tensor
            elif name.startswith("depformer.layers."):
                rest = f"{prefix}.transformer.{name.removeprefix('depformer.')}"
                if ".gating." in name:
                    if f".gating.{block}." in name:
                        yield rest.replace(f".gating.{block}.", ".gating."), tensor
                elif ".self_attn." in name:
                    yield rest, tensor.chunk(blocks)[block].contiguous()
                else:
                    yield rest, tensor.clone()


def _is_embedding(name: str) -> bool:
    return re.fullmatch(r"(text_|depformer_text_)?emb\.weight|(depformer_)?emb\.\d+\.weight", name) is not None


def _schedule(config: Mapping[str, Any]) -> list[int]:
    steps = config["dep_q"]
    schedule = config.get("depformer_weights_per_step_schedule") or list(range(steps))
    return list(schedule) + list(range(steps, config.get("stored_dep_q", steps)))


# Layout -> how it is made, and the name that such a file has in the published repositories.
LAYOUTS: dict[str, tuple[Callable[[Mapping[str, Tensor], Mapping[str, Any]], Tensors], str]] = {
    "pytorch-bf16": (as_published, "model.safetensors"),
    "pytorch-bf16-modules": (as_modules, "model.safetensors"),
    "pytorch-int8": (as_int8, "model.q8.safetensors"),
    "pytorch-int8-modules": (lambda t, c: as_int8(as_modules(t, c), c), "model.q8.safetensors"),
    "mlx-bf16": (as_mlx, "model.safetensors"),
    "mlx-q8": (as_quantised_mlx(8, 64), "model.q8.safetensors"),
    "mlx-q4": (as_quantised_mlx(4, 32), "model.q4.safetensors"),
    "candle-bf16": (as_candle, "model.safetensors"),
    "candle-q8": (as_candle, "model.q8.gguf"),
}

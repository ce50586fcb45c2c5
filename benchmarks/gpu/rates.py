"""What the card does at its best: copies, large products, and the products of a step."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
import torch.nn.functional as F

from benchmarks.gpu.scale import Scale

_PRODUCTS = ("qkv", "out", "gate in", "gate out", "text head", "depth in", "depth qkv", "depth gate in")


def run(scale: Scale) -> None:
    """Bandwidth of a copy (read + write), rate of a large product, time of each product shape by rows."""
    if scale.device.type == "cuda":
        properties = torch.cuda.get_device_properties(scale.device)
        scale.note(f"{properties.name}, {properties.total_memory / 1e9:.1f} GB, torch {torch.__version__}")
    else:
        scale.note(f"a dry run on a CPU, torch {torch.__version__}: its figures mean nothing")
    scale.figure("copy, read + write", copy_rate(scale) / 1e12, "TB/s")
    side = 64 if scale.dry else 8192
    a = torch.randn(side, side, device=scale.device, dtype=torch.bfloat16)
    scale.figure(f"product of bfloat16, {side}^3", 2 * side**3 / seconds(scale, lambda: a @ a) / 1e12, "TFLOP/s")
    for name, (outputs, inputs) in zip(_PRODUCTS, _shapes(scale), strict=True):
        weight = torch.randn(outputs, inputs, device=scale.device, dtype=torch.bfloat16)
        for rows in scale.batches:
            x = torch.randn(rows, inputs, device=scale.device, dtype=torch.bfloat16)
            taken_s = seconds(scale, lambda x=x, weight=weight: F.linear(x, weight))  # type: ignore[misc]
            scale.figure(f"{name} {outputs} x {inputs}, {rows} rows", 1e6 * taken_s, "us")


def copy_rate(scale: Scale) -> float:
    """Bytes per second, read + write, of a copy that no cache holds."""
    source = torch.zeros(10**6 if scale.dry else 4 * 10**9, dtype=torch.int8, device=scale.device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / seconds(scale, lambda: target.copy_(source))


def seconds(scale: Scale, call: Callable[[], object], times: int = 10) -> float:
    """Of one of several calls in a row, after one that does not count."""
    call()
    scale.synchronise()
    start_s = time.perf_counter()
    for _ in range(times):
        call()
    scale.synchronise()
    return (time.perf_counter() - start_s) / times


def _shapes(scale: Scale) -> list[tuple[int, int]]:
    config = scale.lm_config
    dim, depth, tensors = config.dim, config.depformer_dim, scale.tensors
    wide = tensors["transformer.layers.0.gating.linear_in.weight"].shape[0]
    deep = tensors["depformer.layers.0.gating.0.linear_in.weight"].shape[0]
    temporal = [(3 * dim, dim), (dim, dim), (wide, dim), (dim, wide // 2), (config.text_card_out, dim)]
    return [*temporal, (config.dep_q * depth, dim), (3 * depth, depth), (deep, depth)]

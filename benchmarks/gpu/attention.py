"""Ring attention alone: bytes of keys and values per second, beside those of a copy."""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.gpu.rates import copy_rate, seconds
from benchmarks.gpu.scale import Scale
from moshi_cluster.models.kernels.ring_attention import ring_attention
from moshi_cluster.models.moshi_lm.static import SPARE_PLACES
from moshi_cluster.models.moshi_lm.static.kv_rings import KvRing, kv_rings

_TUNINGS = (  # places of a split, of a block, warps, stages
    (512, 32, 1, 1),
    (512, 32, 1, 2),
    (512, 32, 1, 3),
    (512, 16, 1, 1),
    (512, 16, 1, 4),
    (512, 64, 2, 1),
    (256, 32, 1, 1),
)
_FEWER = ((64, 32, 1, 1), (128, 32, 1, 1), (128, 32, 1, 3), (256, 32, 1, 1), (256, 32, 1, 3), (512, 32, 1, 3))


def run(scale: Scale) -> None:
    """Rows of random ages up to the fill in shuffled slots; full ones in other sizes of splits and blocks, too."""
    rate = copy_rate(scale)
    for dtype, name in ((torch.int8, "int8"), (torch.bfloat16, "bfloat16")):
        for rows in scale.batches:
            ring = _ring(scale, rows, dtype)
            for fill in scale.fills:
                share = _share_of_copy(scale, ring, rows, fill, rate)
                scale.figure(f"{name}, {rows} rows, {fill:.0%} of the window", 100 * share, "% of a copy")
            for tuning in _TUNINGS if rows == scale.batches[-1] else _FEWER:
                _tell_tuning(scale, ring, rows, rate, name, tuning)


def _share_of_copy(scale: Scale, ring: KvRing, rows: int, fill: float, rate: float, **tuning: int) -> float:
    """tuning: of the compiled kernel."""
    context = scale.lm_config.context
    random = torch.Generator().manual_seed(rows)
    slots = torch.randperm(rows, generator=random).to(scale.device)
    # Random ages: full windows are in any lap, others just short of the fill.
    ages = torch.randint(context, 9 * context, (rows,), generator=random)
    lengths = (fill * context * (1 - 0.1 * torch.rand(rows, generator=random))).long()
    positions = (ages if fill >= 1 else lengths).to(scale.device)
    q = torch.randn(rows, *ring.keys.shape[1:4:2], device=scale.device, dtype=torch.bfloat16)
    # Only the compiled kernel can be tuned; a dry run passes through here without it.
    attend = _compiled(tuning) if tuning and scale.device.type == "cuda" else ring_attention
    stored = ring.keys, ring.values, ring.key_scales, ring.value_scales
    taken_s = seconds(scale, lambda: attend(q, *stored, slots, positions, context))
    vector = sum(tensor[0, 0, 0].nbytes for tensor in ring.tensors)
    read = int((positions + 1).clamp(max=context).sum()) * ring.keys.shape[1] * vector
    return read / taken_s / rate


def _tell_tuning(scale: Scale, ring: KvRing, rows: int, rate: float, name: str, tuning: tuple[int, ...]) -> None:
    split, block, warps, stages = tuning
    named = {"split": split, "block": block, "warps": warps, "stages": stages}
    share = _share_of_copy(scale, ring, rows, 1.0, rate, **named)
    label = f"{name}, {rows} rows, splits of {split}, blocks of {block}, {warps} warps, {stages} stages"
    scale.figure(label, 100 * share, "% of a copy")


def _compiled(tuning: dict[str, int]):  # type: ignore[no-untyped-def]
    from moshi_cluster.models.kernels.compiled import ring_attention as compiled

    def attend(*arguments: object) -> Tensor:
        return compiled.ring_attention(*arguments, **tuning)  # type: ignore[arg-type]

    return attend


def _ring(scale: Scale, slots: int, dtype: torch.dtype) -> KvRing:
    config = scale.lm_config
    shape = slots, config.num_heads, config.context + SPARE_PLACES, config.dim // config.num_heads
    (ring,) = kv_rings(1, shape, dtype, scale.device)
    return ring

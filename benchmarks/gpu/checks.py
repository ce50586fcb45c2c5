"""What has to be equal on a device, bit for bit: recorded and eager, alone and in a batch, prefilled and stepped."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from benchmarks.gpu.scale import Scale, free_memory
from moshi_cluster.models.moshi_lm import MoshiLm, Sampling
from moshi_cluster.models.moshi_lm.static import StaticGenerator

_FRAMES = 12
_SAMPLING = Sampling(seed=5, repetition_penalty=1.2, padding_multiplier=-1.0)


def run(scale: Scale) -> None:
    """Each check by name."""
    most = scale.batches[-1]
    small = scale.batches[-2]
    for kv_dtype in (torch.int8, torch.bfloat16):
        name = str(kv_dtype).removeprefix("torch.")
        slots = scale.slots_that_fit(kv_dtype, most)
        alone = said(scale.lm, kv_dtype, [most], slots, neighbours=0)
        batch = said(scale.lm, kv_dtype, [most], slots, neighbours=min(small, slots) - 1)
        other = said(scale.lm, kv_dtype, [small], slots, neighbours=0)
        eager = said(scale.lm, kv_dtype, [most], slots, neighbours=0, recorded=False)
        scale.check(f"{name}: recorded = eager", torch.equal(alone, eager))
        scale.check(f"{name}: alone = in a batch", torch.equal(alone, batch))
        scale.check(f"{name}: a bucket of {most} = one of {small} (products may differ)", torch.equal(alone, other))
        scale.check(f"{name}: prefilled = stepped", prefill_is_stepping(scale.lm, kv_dtype, [most]))


def said(
    lm: MoshiLm, kv_dtype: torch.dtype, buckets: Sequence[int], slots: int, neighbours: int, recorded: bool = True
) -> Tensor:
    """What the session in slot 0 says beside so many others, [frames, generated]."""
    free_memory()
    generator = StaticGenerator(lm, slots, kv_dtype=kv_dtype, buckets=buckets)
    if recorded:
        generator.warm()
    sessions = range(neighbours + 1)
    for slot in sessions:
        _open(generator, slot, None)
    return torch.stack([_frame(generator, lm, sessions, frame) for frame in range(_FRAMES)])


def prefill_is_stepping(lm: MoshiLm, kv_dtype: torch.dtype, buckets: Sequence[int]) -> bool:
    """Whether keys and values of a history that was prefilled are those of the conversation, bit for bit."""
    free_memory()
    generator = StaticGenerator(lm, 2, kv_dtype=kv_dtype, buckets=buckets)
    generator.warm()
    _open(generator, 0, None)
    replies = torch.stack([_frame(generator, lm, range(1), frame) for frame in range(_FRAMES)])
    codes = torch.cat([_codes(lm, range(1), frame) for frame in range(_FRAMES)])
    _open(generator, 1, torch.cat((replies, codes), dim=1))
    rings = [ring for layer in generator.rings for ring in layer.tensors]
    return all(torch.equal(ring[0], ring[1]) for ring in rings)


def _open(generator: StaticGenerator, slot: int, history: Tensor | None) -> None:
    generator.open(slot, _SAMPLING, history)
    while generator.prefill(slot, 64):
        pass


def _frame(generator: StaticGenerator, lm: MoshiLm, slots: Sequence[int], frame: int) -> Tensor:
    reply = generator.step(slots, _codes(lm, slots, frame))
    return torch.cat((reply.text[:1], reply.audio[0]))


def _codes(lm: MoshiLm, slots: Sequence[int], frame: int) -> Tensor:
    """int64 [N, user codebooks], a function of slot and frame."""
    code = torch.arange(lm.config.user_codebooks) + 7 * frame + 3 * torch.tensor(list(slots))[:, None]
    return code % lm.config.card

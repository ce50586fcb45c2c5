"""What has to be equal on a device, bit for bit, and how many tokens fewer bits flip."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from benchmarks.gpu.limits import equalities
from benchmarks.gpu.scale import Scale, free_memory
from moshi_cluster.models.layers.quantised.quantise import per_row
from moshi_cluster.models.moshi_lm import MoshiLm, Sampling
from moshi_cluster.models.moshi_lm.static import StaticGenerator
from moshi_cluster.models.moshi_lm.static.step import StaticStep

_FRAMES = 12
_HISTORY_FRAMES, _SHORT_CONTEXT = 200, 96  # past the end of a ring, soon
_FORCED_FRAMES, _FORCED_SESSIONS = 48, 16
_SAMPLING = Sampling(seed=5, repetition_penalty=1.2, padding_multiplier=-1.0)


def run(scale: Scale) -> None:
    """Each equality by name."""
    many, most = scale.batches[-2:]
    for kv_dtype in (torch.int8, torch.bfloat16):
        slots = scale.slots_that_fit(kv_dtype, most)
        alone = said(scale.lm, kv_dtype, [most], slots)
        equal = [
            torch.equal(alone, said(scale.lm, kv_dtype, [most], slots, recorded=False)),
            torch.equal(alone, said(scale.lm, kv_dtype, [most], slots, neighbours=slots - 1)),
            torch.equal(alone, said(scale.lm, kv_dtype, [many], 1)),
            prefill_is_stepping(scale.lm, kv_dtype, [most]),
            torch.equal(alone, said(scale.lm, kv_dtype, [most], 2, poisoned=True)),
        ]
        name = str(kv_dtype).removeprefix("torch.")
        for check, passed in zip(equalities(many, most), equal, strict=True):
            scale.check(f"{name}: {check}", passed)
    run_flips(scale)


def run_flips(scale: Scale) -> None:
    """Share of tokens that are others than in float32, along what was said in float32."""
    frames = 4 if scale.dry else _FORCED_FRAMES
    exact = MoshiLm.from_tensors(scale.tensors, scale.lm_config, torch.float32, scale.device)
    forced = chosen(exact, torch.float32, frames)
    del exact
    free_memory()
    _tell_flips(scale, "bfloat16", chosen(scale.lm, torch.bfloat16, frames, forced), forced)
    _tell_flips(scale, "8-bit keys and values", chosen(scale.lm, torch.int8, frames, forced), forced)
    in_8_bits = MoshiLm.from_tensors(scale.tensors, scale.lm_config, torch.bfloat16, scale.device, per_row)
    _tell_flips(scale, "8-bit weights", chosen(in_8_bits, torch.bfloat16, frames, forced), forced)


def _tell_flips(scale: Scale, name: str, tokens: Tensor, forced: Tensor) -> None:
    flipped = 100 * (tokens != forced).double()
    scale.figure(f"{name}: text tokens flipped", float(flipped[..., 0].mean()), "%")
    scale.figure(f"{name}: audio tokens flipped", float(flipped[..., 1:].mean()), "%")


def chosen(lm: MoshiLm, kv_dtype: torch.dtype, frames: int, forced: Tensor | None = None) -> Tensor:
    """What several sessions choose at their first calls, int64 [frames, sessions, generated].

    forced: of the same shape: what they are told to have chosen before they go on. Inside a frame codebooks follow from
    those that were chosen.
    """
    free_memory()
    config, sessions = lm.config, _FORCED_SESSIONS
    step = StaticStep(lm, sessions, _SHORT_CONTEXT, kv_dtype, [sessions])
    step.warm()
    for slot in range(sessions):
        step.state.open(slot, Sampling(seed=slot), torch.empty(0, config.streams, dtype=torch.int64))
    slots, unknown = torch.arange(sessions), torch.full((sessions, config.generated), -1)
    tokens = []
    for call in range(frames):
        calls = torch.full_like(slots, call)
        step.launch(torch.cat((slots[:, None], calls[:, None], unknown, _codes(lm, slots.tolist(), call)), dim=1).int())
        step.finish()
        there = slots.to(lm.device), calls.to(lm.device)
        tokens.append(step.state.tokens(*there).cpu())
        if forced is not None:
            step.state.sampled(*there, forced[call].to(lm.device))
    return torch.stack(tokens)


def said(
    lm: MoshiLm,
    kv_dtype: torch.dtype,
    buckets: Sequence[int],
    slots: int,
    *,
    neighbours: int = 0,
    recorded: bool = True,
    poisoned: bool = False,
) -> Tensor:
    """What the same session says in the last of the slots that are used, [frames, generated].

    neighbours: others in the slots before; poisoned: rings hold rubbish, as if others had left it behind.
    """
    free_memory()
    generator = StaticGenerator(lm, slots, kv_dtype=kv_dtype, buckets=buckets)
    if recorded:
        generator.warm()
    if poisoned:
        for ring in (ring for layer in generator.rings for ring in layer.tensors):
            ring.fill_(float("nan") if ring.is_floating_point() else 127)
    sessions = range(neighbours + 1)
    for slot in sessions:
        _open(generator, slot, None)
    callers = list(reversed(sessions))
    return torch.stack([_frame(generator, lm, sessions, callers, frame)[-1] for frame in range(_FRAMES)])


def prefill_is_stepping(lm: MoshiLm, kv_dtype: torch.dtype, buckets: Sequence[int]) -> bool:
    """Whether a history that was prefilled leaves what the conversation did, bit for bit, past the end of its ring."""
    free_memory()
    generator = StaticGenerator(lm, 2, _SHORT_CONTEXT, kv_dtype, buckets)
    generator.warm()
    _open(generator, 0, None)
    replies = torch.stack([_frame(generator, lm, [0], [0], frame)[0] for frame in range(_HISTORY_FRAMES)])
    codes = torch.cat([_codes(lm, [0], frame) for frame in range(_HISTORY_FRAMES)])
    _open(generator, 1, torch.cat((replies, codes), dim=1))
    rings = [ring for layer in generator.rings for ring in layer.tensors]
    same = all(torch.equal(ring[0], ring[1]) for ring in rings)
    stepped, prefilled = _frame(generator, lm, [0, 1], [0, 0], _HISTORY_FRAMES)
    return same and torch.equal(stepped, prefilled)


def _open(generator: StaticGenerator, slot: int, history: Tensor | None) -> None:
    generator.open(slot, _SAMPLING, history)
    while generator.prefill(slot, 64):
        pass


def _frame(generator: StaticGenerator, lm: MoshiLm, slots: Sequence[int], callers: Sequence[int], frame: int) -> Tensor:
    """[N, generated]."""
    reply = generator.step(slots, _codes(lm, callers, frame))
    return torch.cat((reply.text[:, None], reply.audio), dim=1)


def _codes(lm: MoshiLm, callers: Sequence[int], frame: int) -> Tensor:
    """int64 [N, user codebooks], a function of caller and frame."""
    code = torch.arange(lm.config.user_codebooks) + 7 * frame + 3 * torch.tensor(list(callers))[:, None]
    return code % lm.config.card

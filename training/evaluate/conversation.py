"""Offline conversations through the product's generator: the caller's codes in, Moshi's text and codes out."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from moshi_cluster.models.moshi_lm import Generator, MoshiLm, Sampling


def converse(lm: MoshiLm, callers: Sequence[Tensor], sampling: Sampling, slots: int = 32) -> list[Tensor]:
    """callers: int64 [T, user codebooks] each -> text and own codes of the same frames, int64 [T, 1 + dep_q] each.

    As many calls at once as there are slots; the next one starts when one ends.
    """
    generator = Generator(lm, slots)
    waiting = sorted(range(len(callers)), key=lambda call: len(callers[call]))  # longest last, so it starts first
    replies: list[list[Tensor]] = [[] for _ in callers]
    talking: dict[int, int] = {}  # slot -> call
    while waiting or talking:
        for slot in sorted(set(range(slots)) - talking.keys()):
            if waiting:
                talking[slot] = waiting.pop()
                _open(generator, slot, sampling)
        calls = list(talking.values())
        codes = torch.stack([callers[call][len(replies[call])] for call in calls])
        reply = generator.step(list(talking), codes)
        for call, tokens in zip(calls, torch.cat((reply.text[:, None], reply.audio), dim=1), strict=True):
            replies[call].append(tokens)
        for slot, call in list(talking.items()):
            if len(replies[call]) == len(callers[call]):
                generator.close(slot)
                del talking[slot]
    return [torch.stack(rows) for rows in replies]


def _open(generator: Generator, slot: int, sampling: Sampling) -> None:
    generator.open(slot, sampling)
    while generator.prefill(slot, 64):
        pass

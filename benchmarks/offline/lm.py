"""LM contender: our step."""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.offline.measure import timed_steps
from moshi_cluster.models.moshi_lm import Generator, MoshiLm, Sampling

_OPENING_STEPS = 3


class LmSteps:
    """`batch` sessions that have spoken for a while."""

    def __init__(self, lm: MoshiLm, batch: int, old_frames: int) -> None:
        """old_frames: how many frames the sessions hold already; their keys and values are random."""
        self._lm = lm
        self._generator: Generator | None = Generator(lm, batch)
        self._slots = list(range(batch))
        self._user_codes = _codes(lm, batch)
        for slot in self._slots:
            self._generator.open(slot, Sampling(seed=slot))
            while self._generator.prefill(slot, max_frames=64):
                pass
        if old_frames:
            _age(self._generator, self._slots, old_frames)
        self.run(_OPENING_STEPS)

    def run(self, steps: int) -> list[float]:
        """Milliseconds of each of that many steps, after one that does not count."""
        return timed_steps(self.step, steps, torch.device(self._lm.device))

    def step(self) -> None:
        """One frame of every session."""
        if self._generator is None:
            raise RuntimeError("the sessions are closed")
        self._generator.step(self._slots, self._user_codes)

    def close(self) -> None:
        """Ends the sessions."""
        self._generator = None


def _codes(lm: MoshiLm, batch: int) -> Tensor:
    random = torch.Generator().manual_seed(0)
    return torch.randint(lm.config.card, (batch, lm.config.user_codebooks), generator=random)


def _age(generator: Generator, slots: list[int], frames: int) -> None:
    """Pretends that so many frames, rounded up, have been stepped: a long call without the hour that it takes.

    The session's number of calls is moved by whole turns of the token timeline, so that its entries stay where they
    are expected.
    """
    for layer in (*generator.kv_cache.keys, *generator.kv_cache.values):
        layer[:] = torch.randn_like(layer[0])
    turn = 2 * generator._config.max_delay + 2
    for slot in slots:
        generator._sessions[slot].call += -(-frames // turn) * turn

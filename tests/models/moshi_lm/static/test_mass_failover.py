"""Many sessions with long histories open at once: those that speak keep their time, counted in keys at Moshi's size."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from moshi_cluster.models.moshi_lm import Sampling
from moshi_cluster.models.moshi_lm.static import StaticGenerator, buckets_for
from moshi_cluster.models.moshi_lm.static.generator import PREFILL_FRAMES
from tests.models.moshi_lm.static.test_counts import seven_b

SPEAKING, OPENING, FRAMES = 8, 16, 4000
CONTEXT = 3000
MOST_KEYS = PREFILL_FRAMES * CONTEXT // 2
SLOTS = SPEAKING + OPENING


class Recorded:
    """A generator of which every step is noted and none is run."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, prefill_frames: int = PREFILL_FRAMES) -> None:
        self.steps: list[Tensor] = []
        self.generator = StaticGenerator(
            seven_b(), SLOTS, kv_dtype=torch.int8, buckets=buckets_for(SLOTS), prefill_frames=prefill_frames
        )
        step = self.generator._step
        monkeypatch.setattr(step, "launch", self.steps.append)
        monkeypatch.setattr(step, "finish", lambda: torch.zeros(len(self.steps[-1]), 9, dtype=torch.int32))
        monkeypatch.setattr(step.state, "open", lambda *_: None)
        for slot in range(SPEAKING):
            self.generator.open(slot, Sampling())
            while self.generator.prefill(slot, 1):
                pass

    def open_many(self) -> None:
        history = torch.zeros(FRAMES, self.generator._config.streams, dtype=torch.int64)
        for slot in range(SPEAKING, SLOTS):
            self.generator.open(slot, Sampling(), history)
        self.steps.clear()

    @property
    def opening(self) -> list[int]:
        return [slot for slot in range(SPEAKING, SLOTS) if self.generator.left(slot)]


def keys_read(rows: Tensor) -> int:
    return int((rows[:, 1] + 1).clamp(max=CONTEXT).sum())


def test_sessions_that_speak_are_in_every_step_and_prefill_beside_them_is_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recorded = Recorded(monkeypatch)
    recorded.open_many()
    codes = torch.zeros(SPEAKING, 8, dtype=torch.int64)
    ready_at: list[int] = []
    while recorded.opening:
        before = recorded.opening
        recorded.generator.step(range(SPEAKING), codes)
        ready_at += [len(recorded.steps)] * (len(before) - len(recorded.opening))
    for rows in recorded.steps:
        assert rows[:SPEAKING, 0].tolist() == list(range(SPEAKING))
        assert len(rows) <= recorded.generator.most_rows
        assert keys_read(rows[SPEAKING:]) <= MOST_KEYS
    # One after the other, so the first of them wait least: 4000 frames are 10 M keys, 48,000 a step.
    assert ready_at[0] < 170 and len(recorded.steps) < 16 * 170
    prefilled = torch.cat([rows[SPEAKING:] for rows in recorded.steps])
    for slot in range(SPEAKING, SLOTS):
        calls = prefilled[prefilled[:, 0] == slot][:, 1]
        assert calls.tolist() == list(range(FRAMES + recorded.generator._config.max_delay))


def test_where_nobody_speaks_a_step_of_prefill_is_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = Recorded(monkeypatch)
    recorded.open_many()
    for slot in recorded.opening[:2]:
        while recorded.generator.prefill(slot, 72):
            pass
    assert max(keys_read(rows) for rows in recorded.steps) <= MOST_KEYS
    assert max(len(rows) for rows in recorded.steps) == 64


def test_a_budget_below_one_window_still_moves_on(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = Recorded(monkeypatch, prefill_frames=1)
    recorded.open_many()
    slot = recorded.opening[0]
    while left := recorded.generator.prefill(slot, 72):
        pass
    assert not left and max(keys_read(rows) for rows in recorded.steps) == CONTEXT


def test_the_shorter_history_goes_first_though_a_longer_one_is_nearly_done(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = Recorded(monkeypatch).generator
    codes, (longer, shorter) = torch.zeros(SPEAKING, 8, dtype=torch.int64), range(SPEAKING, SPEAKING + 2)
    for slot, frames in ((longer, FRAMES), (shorter, FRAMES // 2)):
        generator.open(slot, Sampling(), torch.zeros(frames, generator._config.streams, dtype=torch.int64))
        while generator.left(longer) > 100:
            generator.step(range(SPEAKING), codes)
    while generator.left(shorter):
        generator.step(range(SPEAKING), codes)
    assert generator.left(longer)

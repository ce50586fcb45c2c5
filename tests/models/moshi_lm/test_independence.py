"""The result does not depend on who else is on the machine."""

from __future__ import annotations

from collections import defaultdict

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from moshi_cluster.models.moshi_lm import Generator, MoshiLm, Sampling
from tests.models.moshi_lm.conversation import GREEDY, alone, open_ready, user_frame
from tests.models.moshi_lm.random_model import random_lm

SLOTS = 5
SAMPLINGS = [
    GREEDY,
    Sampling(0.7, 25, 0.8, 250, seed=1),
    Sampling(1.2, 3, 0.6, 5, seed=2),
    Sampling(0.0, 1, 1.0, 500, seed=3),
    Sampling(0.9, 10, 0.0, 1, seed=4),
]
models = st.sampled_from(["moshi", "hibiki", "listening"])
dtypes = st.sampled_from([torch.float32, torch.bfloat16])


class Timetable:
    """Callers come and go; at every frame a random part of those present has a frame waiting."""

    def __init__(self, lm: MoshiLm, draw: st.DataObject) -> None:
        self._generator = Generator(lm, SLOTS)
        self._config = lm.config
        self._draw = draw
        self._present: dict[int, int] = {}  # slot -> caller
        self._callers = 0
        self.said: dict[int, list[list[int]]] = defaultdict(list)
        self.sampling: dict[int, Sampling] = {}

    def run(self, frames: int) -> None:
        for _ in range(frames):
            for slot in self._draw.draw(st.sets(st.integers(0, SLOTS - 1), max_size=2), "come or go"):
                self._change(slot)
            speaking = self._draw.draw(st.permutations(sorted(self._present)), "order")
            keep = self._draw.draw(st.integers(0, len(speaking)), "speaking")
            if keep:
                self._step(speaking[:keep])

    def _change(self, slot: int) -> None:
        if slot in self._present:
            del self._present[slot]
            self._generator.close(slot)
            return
        caller = self._present[slot] = self._callers
        self._callers += 1
        self.sampling[caller] = SAMPLINGS[caller % len(SAMPLINGS)]
        open_ready(self._generator, slot, self.sampling[caller])

    def _step(self, slots: list[int]) -> None:
        callers = [self._present[slot] for slot in slots]
        codes = torch.cat([user_frame(self._config, caller, len(self.said[caller])) for caller in callers])
        reply = self._generator.step(slots, codes)
        for row, caller in enumerate(callers):
            self.said[caller].append([int(reply.text[row]), *reply.audio[row].tolist(), *codes[row].tolist()])


@settings(max_examples=30)
@given(st.data(), models, dtypes)
def test_a_session_says_the_same_alone_and_among_neighbours_that_come_and_go(
    draw: st.DataObject, kind: str, dtype: torch.dtype
) -> None:
    lm = random_lm(kind, dtype)
    timetable = Timetable(lm, draw)
    timetable.run(frames=20)
    for caller, said in timetable.said.items():
        assert alone(lm, timetable.sampling[caller], caller, len(said)).tolist() == said


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_full_batch_gives_every_session_the_hidden_states_it_has_alone(dtype: torch.dtype) -> None:
    lm = random_lm("moshi", dtype)
    rows, frames = 33, 3 * lm.config.context
    tokens = torch.randint(
        lm.config.card, (frames, rows, lm.config.streams), generator=torch.Generator().manual_seed(0)
    )
    batch, single = lm.kv_cache(rows), lm.kv_cache(1)
    for frame in range(frames):
        together = lm.hidden(tokens[frame], torch.full((rows,), frame), batch.step(range(rows), [frame] * rows))
        one = lm.hidden(tokens[frame, 17:18], torch.tensor([frame]), single.step([0], [frame]))
        assert torch.equal(together[17], one[0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_poisoned_neighbour_disturbs_nobody_and_leaves_a_clean_slot(dtype: torch.dtype) -> None:
    lm = random_lm("moshi", dtype)
    generator = Generator(lm, slots=3)
    for slot in range(3):
        open_ready(generator, slot, SAMPLINGS[1])
    for layer in (*generator.kv_cache.keys, *generator.kv_cache.values):
        layer[1] = float("nan")
    said = [generator.step([0, 1, 2], user_frame(lm.config, 0, frame).expand(3, -1)) for frame in range(10)]
    expected = alone(lm, SAMPLINGS[1], caller=0, frames=10)
    for slot in (0, 2):
        assert [int(reply.text[slot]) for reply in said] == expected[:, 0].tolist()
    generator.close(1)
    open_ready(generator, 1, SAMPLINGS[1])
    after = [generator.step([1], user_frame(lm.config, 0, frame)) for frame in range(10)]
    assert torch.cat([reply.audio for reply in after]).tolist() == expected[:, 1 : lm.config.generated].tolist()

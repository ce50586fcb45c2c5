"""Sessions in slots: nobody's result depends on who runs beside, and a reset leaves no trace."""

from __future__ import annotations

from functools import cache

import hypothesis
import hypothesis.strategies as st
import pytest
import torch
from torch import Tensor

from moshi_cluster.models.mimi import StreamingDecoder, StreamingEncoder
from tests.models.mimi import tiny

SLOTS = 6
STEPS = 8
CODEBOOKS = 8


def noise(seed: int, frames: int) -> Tensor:
    """[frames, 1920]."""
    return torch.randn(frames, tiny.FRAME_SAMPLES, generator=torch.Generator().manual_seed(seed)) / 8


@cache
def alone(seed: int, frames: int) -> tuple[Tensor, Tensor]:
    """Codes and reply of a session with an encoder and a decoder of its own."""
    encoder, decoder = tiny.mimi(CODEBOOKS).encoder(1), tiny.mimi(CODEBOOKS).decoder(1)
    codes = torch.cat([encoder.step([0], frame[None]) for frame in noise(seed, frames)])
    return codes, torch.cat([decoder.step([0], column[None]) for column in codes])


class Caller:
    """A session, and what it would get without neighbours."""

    def __init__(self, seed: int, frames: int = STEPS) -> None:
        self.pcm = noise(seed, frames)
        self.codes, self.reply = alone(seed, frames)
        self.frames = 0

    def check(self, codes: Tensor, reply: Tensor) -> None:
        assert torch.equal(codes, self.codes[self.frames])
        assert torch.equal(reply, self.reply[self.frames])
        self.frames += 1


@hypothesis.settings(max_examples=25)
@hypothesis.given(
    plan=st.lists(
        st.tuples(
            st.lists(st.integers(0, SLOTS - 1), unique=True, min_size=1),  # who runs, in this order
            st.sets(st.integers(0, SLOTS - 1), max_size=2),  # whose slot gets a new owner before
        ),
        min_size=2,
        max_size=STEPS,
    )
)
def test_a_session_gets_bit_for_bit_what_it_gets_alone(plan: list[tuple[list[int], set[int]]]) -> None:
    encoder, decoder = tiny.mimi(CODEBOOKS).encoder(SLOTS), tiny.mimi(CODEBOOKS).decoder(SLOTS)
    seeds = iter(range(10**6))
    owners = [Caller(next(seeds)) for _ in range(SLOTS)]
    for running, leaving in plan:
        for slot in leaving:
            encoder.reset(slot)
            decoder.reset(slot)
            owners[slot] = Caller(next(seeds))
        codes = encoder.step(running, torch.stack([owners[slot].pcm[owners[slot].frames] for slot in running]))
        replies = decoder.step(running, codes)
        for row, slot in enumerate(running):
            owners[slot].check(codes[row], replies[row])


def test_sessions_stay_independent_while_their_rings_wrap() -> None:
    """The small codec's ring holds 20 frames."""
    encoder, decoder = tiny.mimi(CODEBOOKS).encoder(3), tiny.mimi(CODEBOOKS).decoder(3)
    callers = [Caller(seed, frames=30) for seed in range(3)]
    for step in range(36):
        running = [slot for slot in range(3) if slot * 3 <= step < slot * 3 + 30]
        codes = encoder.step(running, torch.stack([callers[slot].pcm[callers[slot].frames] for slot in running]))
        replies = decoder.step(running, codes)
        for row, slot in enumerate(running):
            callers[slot].check(codes[row], replies[row])


@pytest.mark.parametrize("poison", [float("nan"), float("inf"), 1e30])
def test_a_reset_slot_is_as_good_as_new_after_poison(poison: float) -> None:
    encoder, decoder = tiny.mimi(CODEBOOKS).encoder(2), tiny.mimi(CODEBOOKS).decoder(2)
    caller, neighbour = Caller(1), Caller(2)
    for frame in range(2):
        poisoned = torch.stack((torch.full((tiny.FRAME_SAMPLES,), poison), neighbour.pcm[frame]))
        codes = encoder.step([0, 1], poisoned)
        neighbour.check(codes[1], decoder.step([0, 1], codes)[1])
    encoder.reset(0)
    for frame in caller.pcm:
        codes = encoder.step([0], frame[None])
        caller.check(codes[0], caller.reply[caller.frames])


def test_a_reset_leaves_nothing_of_the_last_owner_in_memory() -> None:
    """Even behind a mask a NaN would spread: 0 * NaN."""
    encoder = tiny.mimi(CODEBOOKS).encoder(2)
    encoder.step([0], torch.full((1, tiny.FRAME_SAMPLES), float("nan")))
    encoder.reset(0)
    states = encoder._states
    for stored in (states._history, states._cache.keys, states._cache.values):
        assert not stored.any()


def test_paused_sessions_keep_their_state() -> None:
    encoder = tiny.mimi(CODEBOOKS).encoder(2)
    caller, neighbour = Caller(1), Caller(2)
    assert torch.equal(encoder.step([0], caller.pcm[:1]), caller.codes[:1])
    for frame in range(3):
        assert torch.equal(encoder.step([1], neighbour.pcm[frame : frame + 1]), neighbour.codes[frame : frame + 1])
    assert torch.equal(encoder.step([0], caller.pcm[1:2]), caller.codes[1:2])


@pytest.mark.parametrize(("slots", "rows"), [([0, 0], 2), ([2], 1), ([-1], 1), ([0], 2)])
def test_impossible_slots_are_refused(slots: list[int], rows: int) -> None:
    encoder: StreamingEncoder = tiny.mimi(CODEBOOKS).encoder(2)
    decoder: StreamingDecoder = tiny.mimi(CODEBOOKS).decoder(2)
    with pytest.raises(ValueError, match="slots"):
        encoder.step(slots, torch.zeros(rows, tiny.FRAME_SAMPLES))
    with pytest.raises(ValueError, match="slots"):
        decoder.step(slots, torch.zeros(rows, CODEBOOKS, dtype=torch.int64))


def test_a_frame_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\[1, 1919\], expected \[N, 1920\]"):
        tiny.mimi(CODEBOOKS).encoder(1).step([0], torch.zeros(1, 1919))


@pytest.mark.parametrize("code", [-1, 64])
def test_a_code_that_is_none_is_refused_before_any_state_moves(code: int) -> None:
    decoder = tiny.mimi(CODEBOOKS).decoder(1)
    caller = Caller(1)
    with pytest.raises(ValueError, match=r"outside 0\.\.63"):
        decoder.step([0], torch.full((1, CODEBOOKS), code))
    assert torch.equal(decoder.step([0], caller.codes[:1]), caller.reply[:1])

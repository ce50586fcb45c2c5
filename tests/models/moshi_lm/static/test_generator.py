"""The static step says what the plain generator says, token for token, whoever comes and goes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor

from moshi_cluster.models.moshi_lm import Generator, LmConfig, MoshiLm, Sampling
from moshi_cluster.models.moshi_lm.static import StaticGenerator
from tests.models.moshi_lm.conversation import GREEDY, alone, open_ready, speak, user_frame
from tests.models.moshi_lm.random_model import random_lm

SLOTS, BUCKETS, SPARE = 5, (4, 8), 3
CONTEXT = random_lm().config.context
BIASED = Sampling(0.7, 25, 0.8, 250, 7, padding_multiplier=-1, repetition_penalty=1.7, repetition_penalty_context=9)
SAMPLINGS = [
    GREEDY,
    Sampling(0.7, 25, 0.8, 250, seed=1),
    BIASED,
    Sampling(1.2, 3, 0.6, 5, seed=2**64 - 1, padding_multiplier=2.0),
    Sampling(0.0, 1, 1.0, 500, seed=2**63, repetition_penalty=1.3, repetition_penalty_context=200),
]
KINDS = ["moshi", "hibiki", "zero", "sines", "listening", "late text"]
kinds = st.sampled_from(KINDS)


def static(lm: MoshiLm, slots: int = SLOTS, kv_dtype: torch.dtype | None = None) -> StaticGenerator:
    return StaticGenerator(lm, slots, kv_dtype=kv_dtype, buckets=BUCKETS, spare=SPARE)


class Pair:
    """The same calls to both generators; the plain one has to agree with every reply."""

    def __init__(self, lm: MoshiLm, kv_dtype: torch.dtype | None, draw: st.DataObject) -> None:
        self._config = lm.config
        self._plain, self._static = Generator(lm, SLOTS, kv_dtype=kv_dtype), static(lm, kv_dtype=kv_dtype)
        self._draw = draw
        self._said: dict[int, list[Tensor]] = {}  # slot -> its frames
        self._ready: set[int] = set()
        self._caller: dict[int, int] = {}
        self._samplings: dict[int, Sampling] = {}

    def run(self, frames: int) -> None:
        for _ in range(frames):
            for slot in self._draw.draw(st.sets(st.integers(0, SLOTS - 1), max_size=2), "come, go, or move"):
                self._change(slot)
            for slot in self._draw.draw(st.sets(st.sampled_from(range(SLOTS)), max_size=2), "prefill"):
                if slot in self._said:
                    self._prefill(slot)
            speaking = self._draw.draw(st.permutations(sorted(self._ready)), "order")
            if keep := self._draw.draw(st.integers(0, len(speaking)), "speaking"):
                self._step(speaking[:keep])

    def _change(self, slot: int) -> None:
        said = self._said.pop(slot, None)
        if said is None:
            caller = self._caller[slot] = self._draw.draw(st.integers(0, 99), "caller")
            self._open(slot, SAMPLINGS[caller % len(SAMPLINGS)], [])
            return
        self._ready.discard(slot)
        self._plain.close(slot)
        self._static.close(slot)
        if self._draw.draw(st.booleans(), "comes back"):
            self._open(slot, self._samplings[slot], said)

    def _open(self, slot: int, sampling: Sampling, said: list[Tensor]) -> None:
        self._samplings[slot], self._said[slot] = sampling, said
        history = torch.cat(said) if said else None
        open_ready(self._plain, slot, sampling, history)
        self._static.open(slot, sampling, history)

    def _prefill(self, slot: int) -> None:
        if not self._static.prefill(slot, self._draw.draw(st.integers(1, 7), "portion")):
            self._ready.add(slot)

    def _step(self, slots: list[int]) -> None:
        frames = [user_frame(self._config, self._caller[slot], len(self._said[slot])) for slot in slots]
        plain, ours = (generator.step(slots, torch.cat(frames)) for generator in (self._plain, self._static))
        assert ours.text.tolist() == plain.text.tolist()
        assert ours.audio.tolist() == plain.audio.tolist()
        for row, slot in enumerate(slots):
            self._said[slot].append(torch.cat((plain.text[row : row + 1, None], plain.audio[[row]], frames[row]), 1))


@settings(max_examples=30)
@given(st.data(), kinds, st.sampled_from([None, torch.int8]))
def test_every_session_hears_the_same_from_both(draw: st.DataObject, kind: str, kv_dtype: torch.dtype | None) -> None:
    Pair(random_lm(kind), kv_dtype, draw).run(frames=16)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_a_session_says_the_same_past_many_laps_of_its_ring(kind: str, sampling: Sampling) -> None:
    lm, frames = random_lm(kind), 5 * (CONTEXT + SPARE)
    generator = static(lm)
    open_ready(generator, 3, sampling)
    assert speak(generator, lm.config, 3, 1, range(frames)).tolist() == alone(lm, sampling, 1, frames).tolist()


@settings(max_examples=30)
@given(kinds, st.sampled_from(SAMPLINGS), st.integers(0, 4 * CONTEXT), st.integers(1, 20))
def test_a_restored_session_has_the_state_of_a_stepped_one_bit_for_bit(
    kind: str, sampling: Sampling, frames: int, chunk_frames: int
) -> None:
    lm = random_lm(kind)
    stepped, restored = static(lm), static(lm)
    open_ready(stepped, 0, sampling)
    history = speak(stepped, lm.config, 0, caller=5, frames=range(frames))
    open_ready(restored, 2, sampling, history, chunk_frames)
    for ours, theirs in zip(restored.rings, stepped.rings, strict=True):
        for ring, expected in zip(ours.tensors, theirs.tensors, strict=True):
            assert torch.equal(ring[2], expected[0])
    rest = range(frames, frames + 4)
    assert speak(restored, lm.config, 2, 5, rest).tolist() == speak(stepped, lm.config, 0, 5, rest).tolist()


@pytest.mark.parametrize("kind", ["moshi", "hibiki", "late text"])
@pytest.mark.parametrize("sampling", [SAMPLINGS[1], SAMPLINGS[3]])
@pytest.mark.parametrize("make", [lambda lm: Generator(lm, 1), lambda lm: static(lm, 1)], ids=["plain", "static"])
def test_a_session_of_whose_history_only_the_end_is_told_draws_the_same_noise(
    kind: str, sampling: Sampling, make: Callable[[MoshiLm], Any]
) -> None:
    lm = random_lm(kind)
    said = alone(lm, sampling, 3, 60)
    told = 4 * lm.config.context  # twice what two layers look back on
    generator = make(lm)
    open_ready(generator, 0, sampling, said[40 - told : 40], earlier_frames=40 - told)
    assert torch.equal(speak(generator, lm.config, 0, 3, range(40, 60)), said[40:])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kv_dtype", [None, torch.int8])
def test_a_session_is_the_same_alone_in_a_full_batch_and_in_another_bucket(
    dtype: torch.dtype, kv_dtype: torch.dtype | None
) -> None:
    lm, frames = random_lm("moshi", dtype), range(3 * CONTEXT)
    rings = []
    for neighbours, buckets in ((0, (4,)), (0, (8,)), (4, (8,)), (2, (4, 8))):
        generator = StaticGenerator(lm, SLOTS, kv_dtype=kv_dtype, buckets=buckets, spare=SPARE)
        for slot in range(neighbours + 1):
            open_ready(generator, slot, SAMPLINGS[slot])
        for frame in frames:
            codes = [user_frame(lm.config, caller, frame) for caller in range(neighbours + 1)]
            generator.step(range(neighbours + 1), torch.cat(codes))
        rings.append([ring[0] for layer in generator.rings for ring in layer.tensors])
    for other in rings[1:]:
        assert all(torch.equal(a, b) for a, b in zip(other, rings[0], strict=True))


def test_prefill_goes_along_in_rows_that_decoding_leaves_unused() -> None:
    lm = random_lm()
    generator = static(lm)
    history = alone(lm, BIASED, caller=2, frames=9)
    open_ready(generator, 0, GREEDY)
    generator.open(1, BIASED, history)
    said = [speak(generator, lm.config, 0, 1, range(frame, frame + 1)) for frame in range(5)]
    assert generator.prefill(1, 1) == 0  # without a step of its own
    assert torch.cat(said).tolist() == alone(lm, GREEDY, 1, 5).tolist()
    whole = alone(lm, BIASED, 2, 20)
    assert speak(generator, lm.config, 1, 2, range(9, 20)).tolist() == whole[9:].tolist()


def test_what_an_earlier_session_left_behind_disturbs_nobody() -> None:
    lm = random_lm()
    generator = static(lm)
    for layer in generator.rings:
        for ring in layer.tensors:
            ring.fill_(float("nan"))
    open_ready(generator, 1, BIASED)
    assert speak(generator, lm.config, 1, 4, range(40)).tolist() == alone(lm, BIASED, 4, 40).tolist()


def test_a_session_may_close_while_it_is_prefilled_and_another_takes_its_slot() -> None:
    lm = random_lm()
    generator = static(lm)
    generator.open(1, GREEDY, alone(lm, GREEDY, 3, 12))
    generator.prefill(1, 2)
    generator.close(1)
    generator.close(1)
    open_ready(generator, 1, BIASED)
    assert speak(generator, lm.config, 1, 4, range(9)).tolist() == alone(lm, BIASED, 4, 9).tolist()


@pytest.mark.parametrize("slots", [[], [0, 0], [1], [7], [2]])
def test_only_ready_slots_step_and_each_once(slots: list[int]) -> None:
    lm = random_lm()
    generator = static(lm)
    open_ready(generator, 0, GREEDY)
    generator.open(2, GREEDY)
    codes = torch.zeros(len(slots), lm.config.user_codebooks, dtype=torch.int64)
    with pytest.raises(ValueError, match="slot"):
        generator.step(slots, codes)
    assert speak(generator, lm.config, 0, 1, range(3)).tolist() == alone(lm, GREEDY, 1, 3).tolist()


def test_more_sessions_than_rows_are_refused() -> None:
    lm = random_lm()
    generator = StaticGenerator(lm, 5, buckets=(4,), spare=SPARE)
    for slot in range(5):
        open_ready(generator, slot, GREEDY)
    with pytest.raises(ValueError, match="5 are more than the 4 rows"):
        generator.step(range(5), torch.zeros(5, lm.config.user_codebooks, dtype=torch.int64))


@pytest.mark.parametrize("code", [-1, random_lm().config.card + 1])
def test_bad_codes_and_histories_are_refused_and_change_nothing(code: int) -> None:
    lm = random_lm()
    generator = static(lm)
    open_ready(generator, 0, GREEDY)
    with pytest.raises(ValueError, match="user_codes"):
        generator.step([0], torch.full((1, lm.config.user_codebooks), code))
    with pytest.raises(ValueError, match="history"):
        generator.open(1, GREEDY, torch.full((2, lm.config.streams), code - (code > 0) + 100 * (code > 0)))
    with pytest.raises(ValueError, match="slot 0 is taken"):
        generator.open(0, GREEDY)
    assert speak(generator, lm.config, 0, 1, range(3)).tolist() == alone(lm, GREEDY, 1, 3).tolist()


@pytest.mark.parity
def test_120_greedy_frames_are_upstreams_exactly(golden_dir: Path) -> None:
    config = LmConfig.from_dict(json.loads((golden_dir / "lm_tiny" / "config.json").read_text()))
    lm = MoshiLm.from_tensors(load_file(golden_dir / "lm_tiny" / "model.safetensors"), config, torch.float32)
    expected = load_file(golden_dir / "lm_tiny" / "outputs_f32.safetensors")
    generator = StaticGenerator(lm, 2, buckets=(4,))
    open_ready(generator, 1, GREEDY)
    for frame, tokens in zip(expected["user_codes"].T[1:], expected["tokens"][1:], strict=True):
        reply = generator.step([1], frame[None])
        assert torch.cat([reply.text, reply.audio[0]]).tolist() == tokens.tolist()

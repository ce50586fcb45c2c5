"""A history, prefilled in portions of any size, leads where stepping through it led."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from moshi_cluster.models.moshi_lm import Generator, Sampling
from moshi_cluster.models.moshi_lm.kv_cache import KvCache
from tests.models.moshi_lm.conversation import GREEDY, open_ready, speak
from tests.models.moshi_lm.random_model import MOSHI_LIKE, random_lm

CONTEXT = MOSHI_LIKE["context"]
LONGEST = 3 * CONTEXT
AFTER = 4
BIASED = Sampling(0.7, 25, 0.8, 250, 7, padding_multiplier=-1, repetition_penalty=1.7, repetition_penalty_context=9)
samplings = st.sampled_from([GREEDY, Sampling(0.7, 25, 0.8, 250, seed=7), BIASED])
models = st.sampled_from(["moshi", "hibiki", "listening"])
dtypes = st.sampled_from([torch.float32, torch.bfloat16])
kv_dtypes = st.sampled_from([None, torch.int8])


@settings(max_examples=60)
@given(models, dtypes, kv_dtypes, samplings, st.integers(0, LONGEST), st.integers(1, LONGEST + 3))
def test_a_restored_session_continues_identically(
    kind: str, dtype: torch.dtype, kv_dtype: torch.dtype | None, sampling: Sampling, frames: int, chunk_frames: int
) -> None:
    """Bit for bit on CPU: the memory is the same, so near ties cannot fall differently."""
    lm = random_lm(kind, dtype)
    stepped, restored = (Generator(lm, slots, kv_dtype=kv_dtype) for slots in (1, 3))
    open_ready(stepped, 0, sampling)
    history = speak(stepped, lm.config, 0, caller=5, frames=range(frames))
    open_ready(restored, 2, sampling, history, chunk_frames)
    for ours, theirs in zip(
        restored.kv_cache.keys + restored.kv_cache.values, stepped.kv_cache.keys + stepped.kv_cache.values, strict=True
    ):
        assert torch.equal(ours[2], theirs[0])
    rest = range(frames, frames + AFTER)
    assert speak(restored, lm.config, 2, 5, rest).tolist() == speak(stepped, lm.config, 0, 5, rest).tolist()


@settings(max_examples=25)
@given(models, samplings, st.integers(1, LONGEST), st.integers(1, LONGEST), st.lists(st.booleans(), max_size=8))
def test_a_session_restored_beside_one_that_speaks_continues_identically(
    kind: str, sampling: Sampling, frames: int, chunk_frames: int, speaks: list[bool]
) -> None:
    """What a step takes along for it is what its own call would have been, for both."""
    lm = random_lm(kind)
    generator, undisturbed = Generator(lm, slots=3), Generator(lm, slots=3)
    for one in (generator, undisturbed):
        open_ready(one, 1, BIASED)
    open_ready(undisturbed, 0, sampling)
    history = speak(undisturbed, lm.config, 0, caller=5, frames=range(frames))
    generator.open(0, sampling, history)
    said, turns = [], iter(speaks)
    while generator.prefill(0, chunk_frames):
        if next(turns, True):
            said.append(speak(generator, lm.config, 1, 6, range(len(said), len(said) + 1)))
    expected = speak(undisturbed, lm.config, 1, 6, range(len(said)))
    assert torch.cat(said or [expected]).tolist() == expected.tolist()
    rest = range(frames, frames + AFTER)
    assert speak(generator, lm.config, 0, 5, rest).tolist() == speak(undisturbed, lm.config, 0, 5, rest).tolist()


@settings(max_examples=15)
@given(kv_dtypes, st.lists(st.integers(1, 150), min_size=1, max_size=4))
def test_a_chunk_gives_and_leaves_the_bits_of_its_rows_one_by_one(
    kv_dtype: torch.dtype | None, chunks: list[int]
) -> None:
    """Across the lengths where more places begin to be read, and past the end of the cache."""
    generator = torch.Generator().manual_seed(len(chunks))
    together, apart = (KvCache(1, 2, 2, 16, 280, kv_dtype or torch.float32, "cpu") for _ in range(2))
    start = 0
    for rows in chunks:
        q, k, v = torch.randn(3, rows, 2, 16, generator=generator).unbind(0)
        expected = [
            apart.step([1], [start + row]).attend(0, q[row : row + 1], k[row : row + 1], v[row : row + 1])
            for row in range(rows)
        ]
        assert torch.equal(together.chunk(1, start, rows).attend(0, q, k, v), torch.cat(expected))
        assert all(map(torch.equal, together.keys + together.values, apart.keys + apart.values))
        start += rows


@settings(max_examples=40)
@given(st.lists(st.integers(1, 2 * CONTEXT + 3), min_size=1, max_size=4))
def test_a_chunk_in_one_call_attends_as_its_rows_one_by_one_would(chunks: list[int]) -> None:
    """The form used on other devices than CPU; it sums in another order, hence the tolerance."""
    lm = random_lm()
    generator = torch.Generator().manual_seed(len(chunks))
    exact, banded = lm.kv_cache(2), lm.kv_cache(2)
    start = 0
    for rows in chunks:
        q, k, v = torch.randn(3, rows, lm.config.num_heads, 16, generator=generator).unbind(0)
        expected = exact.chunk(1, start, rows).attend(0, q, k, v)
        actual = banded.chunk_in_one_call(1, start, rows).attend(0, q, k, v)
        assert (actual - expected).abs().max() < 1e-5
        assert torch.equal(banded.keys[0], exact.keys[0])
        start += rows


def test_prefill_does_at_most_what_it_is_asked_and_counts_down_to_ready() -> None:
    lm = random_lm("hibiki")
    generator = Generator(lm, slots=1)
    history = torch.zeros(5, lm.config.streams, dtype=torch.int64)
    generator.open(0, GREEDY, history)
    assert [generator.prefill(0, 3) for _ in range(4)] == [4, 2, 0, 0]
    with pytest.raises(ValueError, match="slot 0 is taken"):
        generator.open(0, GREEDY)


def test_a_session_that_is_not_prefilled_cannot_step() -> None:
    lm = random_lm()
    generator = Generator(lm, slots=1)
    generator.open(0, GREEDY)
    with pytest.raises(ValueError, match="not prefilled"):
        generator.step([0], torch.zeros(1, lm.config.user_codebooks, dtype=torch.int64))

"""More or less silence, fewer repetitions: by the formulas, by row, and only for those who ask."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from moshi_cluster.models.moshi_lm import Generator, LmConfig, Sampling
from moshi_cluster.models.moshi_lm.text_bias import SpokenText, biased
from tests.models.moshi_lm.conversation import GREEDY, alone, open_ready, speak, user_frame
from tests.models.moshi_lm.random_model import MOSHI_LIKE, random_lm

CONFIG = LmConfig.from_dict(MOSHI_LIKE)
PADDING, END_OF_PADDING, INITIAL = 3, 0, MOSHI_LIKE["text_card"]
DRAWS = Sampling(0.9, 500, 0.8, 250, seed=7)


def spoken(sampling: Sampling, tokens: list[int]) -> SpokenText:
    text = SpokenText(sampling, CONFIG)
    text.extend(tokens)
    return text


def by_hand(logits: list[float], sampling: Sampling, tokens: list[int]) -> list[float]:
    """Token by token, as upstream's Rust server counts and as its formulas read; its probabilities, not normalised."""
    logits = list(logits)
    counted = [token for token in tokens if token not in (PADDING, END_OF_PADDING, INITIAL)]
    context = sampling.repetition_penalty_context
    for token in set(counted[-context:] if context else []):
        penalty = sampling.repetition_penalty
        logits[token] = logits[token] / penalty if logits[token] >= 0 else logits[token] * penalty
    weights = [math.exp(logit / sampling.text_temperature) for logit in logits]
    weights[PADDING] *= math.exp(sampling.padding_multiplier)
    return weights


biases = st.builds(
    Sampling,
    text_temperature=st.sampled_from([0.5, 1.0]),
    padding_multiplier=st.sampled_from([-4.0, -0.5, 0.0, 2.0]),
    repetition_penalty=st.sampled_from([1.0, 1.1, 2.0]),
    repetition_penalty_context=st.integers(0, 5),
)
texts = st.lists(st.integers(0, INITIAL), max_size=12)


@given(st.lists(st.tuples(biases, texts), min_size=1, max_size=4), st.booleans())
def test_probabilities_are_those_of_the_formulas_row_by_row(rows: list[tuple[Sampling, list[int]]], bf16: bool) -> None:
    logits = 3 * torch.randn(len(rows), INITIAL, generator=torch.Generator().manual_seed(len(rows)))
    logits = logits.bfloat16() if bf16 else logits
    before = logits.clone()
    after = biased(logits, [spoken(sampling, tokens) for sampling, tokens in rows])
    assert torch.equal(logits, before)
    for row, (sampling, tokens) in enumerate(rows):
        expected = torch.tensor(by_hand(logits[row].tolist(), sampling, tokens), dtype=torch.float64)
        actual = torch.softmax(after[row].double() / sampling.text_temperature, dim=0)
        assert (actual - expected / expected.sum()).abs().max() < 1e-5


def test_who_asks_for_nothing_costs_nothing() -> None:
    logits = torch.randn(2, INITIAL)
    texts = [spoken(sampling, [5, 6]) for sampling in (DRAWS, replace(DRAWS, repetition_penalty_context=3))]
    assert biased(logits, texts) is logits


def text_of(sampling: Sampling, frames: int = 60) -> list[int]:
    tokens: Tensor = alone(random_lm(), sampling, caller=1, frames=frames)[:, 0]
    return tokens.tolist()


def test_silence_grows_with_the_padding_multiplier() -> None:
    padding = [text_of(replace(DRAWS, padding_multiplier=value)).count(PADDING) for value in (-4.0, 0.0, 4.0)]
    assert padding[0] <= padding[1] < padding[2]


def test_a_greedy_session_repeats_itself_less_under_a_penalty() -> None:
    free = text_of(GREEDY)
    held_back = text_of(replace(GREEDY, repetition_penalty=2.0, repetition_penalty_context=20))
    assert len(set(held_back)) > len(set(free))


def test_a_penalty_changes_nothing_before_there_is_a_word_to_repeat() -> None:
    free, held_back = text_of(DRAWS), text_of(replace(DRAWS, repetition_penalty=2.0, repetition_penalty_context=60))
    differs = next(frame for frame, (a, b) in enumerate(zip(free, held_back, strict=True)) if a != b)
    assert set(free[:differs]) - {PADDING, END_OF_PADDING}


@settings(max_examples=10)
@given(st.lists(biases, min_size=2, max_size=4))
def test_biased_sessions_do_not_hear_each_other(samplings: list[Sampling]) -> None:
    lm, frames = random_lm(), 8
    together = Generator(lm, slots=len(samplings))
    for slot, sampling in enumerate(samplings):
        open_ready(together, slot, sampling)
    replies = []
    for frame in range(frames):
        codes = torch.cat([user_frame(lm.config, caller, frame) for caller in range(len(samplings))])
        replies.append(together.step(range(len(samplings)), codes).text)
    for slot, sampling in enumerate(samplings):
        assert alone(lm, sampling, slot, frames)[:, 0].tolist() == torch.stack(replies)[:, slot].tolist()


@pytest.mark.parametrize("kind", ["moshi", "hibiki"])
def test_a_session_that_moves_twice_remembers_what_it_said(kind: str) -> None:
    lm = random_lm(kind)
    sampling = replace(DRAWS, repetition_penalty=1.9, repetition_penalty_context=6, padding_multiplier=-2.0)
    whole = alone(lm, sampling, caller=2, frames=24)
    told = whole[:0]
    for start, end in ((0, 9), (9, 14), (14, 24)):
        generator = Generator(lm, slots=1)
        open_ready(generator, 0, sampling, told, chunk_frames=4)
        told = torch.cat([told, speak(generator, lm.config, 0, 2, range(start, end))])
    assert told.tolist() == whole.tolist()

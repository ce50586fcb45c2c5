"""What the generator refuses, before anything has changed."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from moshi_cluster.models.moshi_lm import Generator, Sampling
from tests.models.moshi_lm.conversation import GREEDY, alone, open_ready, speak, user_frame
from tests.models.moshi_lm.random_model import random_lm

LM = random_lm()
CONFIG = LM.config


@pytest.fixture
def generator() -> Generator:
    generator = Generator(LM, slots=2)
    open_ready(generator, 0, GREEDY)
    return generator


@pytest.mark.parametrize(
    "codes",
    [
        torch.zeros(1, 2, dtype=torch.int64),
        torch.zeros(2, 3, dtype=torch.int64),
        torch.zeros(1, 3),
        torch.full((1, 3), -1),
        torch.full((1, 3), CONFIG.card + 1),
    ],
)
def test_bad_user_codes_are_refused_and_change_nothing(generator: Generator, codes: Tensor) -> None:
    speak(generator, CONFIG, 0, caller=1, frames=range(3))
    with pytest.raises(ValueError, match="user_codes"):
        generator.step([0], codes)
    assert torch.equal(speak(generator, CONFIG, 0, 1, range(3, 6)), alone(LM, GREEDY, 1, 6)[3:])


@pytest.mark.parametrize("slots", [[], [0, 0], [1], [7]])
def test_only_open_slots_step_and_each_once(generator: Generator, slots: list[int]) -> None:
    with pytest.raises(ValueError, match="slot"):
        generator.step(slots, torch.zeros(len(slots), CONFIG.user_codebooks, dtype=torch.int64))


@pytest.mark.parametrize(
    "history",
    [
        torch.zeros(3, CONFIG.streams - 1, dtype=torch.int64),
        torch.zeros(3, CONFIG.streams),
        torch.full((1, CONFIG.streams), -2),
        torch.full((1, CONFIG.streams), CONFIG.card + 1),
    ],
)
def test_an_impossible_history_is_refused_and_the_slot_stays_free(generator: Generator, history: Tensor) -> None:
    with pytest.raises(ValueError, match="history"):
        generator.open(1, GREEDY, history)
    open_ready(generator, 1, GREEDY)


@pytest.mark.parametrize("slot", [-1, 0, 2])
def test_a_slot_that_is_taken_or_none_is_refused(generator: Generator, slot: int) -> None:
    with pytest.raises(ValueError, match=f"slot {slot} "):
        generator.open(slot, GREEDY)


def test_closing_a_free_slot_is_no_error(generator: Generator) -> None:
    generator.close(1)
    generator.close(0)
    generator.close(0)


def test_a_closed_slot_starts_again_as_new(generator: Generator) -> None:
    speak(generator, CONFIG, 0, caller=3, frames=range(2 * CONFIG.context))
    generator.close(0)
    open_ready(generator, 0, GREEDY)
    assert torch.equal(speak(generator, CONFIG, 0, 4, range(9)), alone(LM, GREEDY, 4, 9))


def test_a_session_may_close_before_it_was_prefilled(generator: Generator) -> None:
    generator.open(1, GREEDY, torch.zeros(4, CONFIG.streams, dtype=torch.int64))
    generator.prefill(1, 2)
    generator.close(1)
    open_ready(generator, 1, GREEDY)
    assert torch.equal(speak(generator, CONFIG, 1, 4, range(9)), alone(LM, GREEDY, 4, 9))


def test_a_shorter_memory_forgets_sooner_and_a_longer_one_than_the_models_is_not_made() -> None:
    assert Generator(LM, slots=1, context=3).kv_cache.capacity == 3
    assert Generator(LM, slots=1, context=10**6).kv_cache.capacity == CONFIG.context


def test_the_seed_decides_what_is_said() -> None:
    said = [alone(LM, Sampling(seed=seed), caller=1, frames=8).tolist() for seed in (1, 1, 2)]
    assert said[0] == said[1] != said[2]


def test_another_user_gets_another_answer() -> None:
    assert not torch.equal(user_frame(CONFIG, 1, 0), user_frame(CONFIG, 2, 0))
    generated = slice(0, CONFIG.generated)
    assert not torch.equal(alone(LM, GREEDY, 1, 8)[:, generated], alone(LM, GREEDY, 2, 8)[:, generated])

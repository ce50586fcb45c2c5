"""Examples and batches: what is heard when, padding, cuts, and every session once per pass."""

from __future__ import annotations

import torch

from models.moshi_lm import LmConfig
from tests.training.lm.sessions import session
from training.lm.data import Batches, collate, ending, example
from training.lm.sizes import lm_config
from training.lm.streams import NONE
from training.lm.vocabulary import Vocabulary

CONFIG = LmConfig.from_dict(lm_config(text_card=24, card=20))
WORDS = Vocabulary(["spell", "cat"])


def test_a_call_knows_the_phones_of_the_newest_frame_it_reads() -> None:
    one = session(1)
    made = example(one, CONFIG, WORDS)
    assert made.phones[0].tolist() == [NONE] * 4
    assert torch.equal(made.phones[1:], torch.from_numpy(one.user_phones[:-1]).long())
    # The newest frame is the one whose first code the call reads.
    assert torch.equal(made.inputs[1:, CONFIG.generated], torch.from_numpy(one.user[0, :-1]).long())


def test_the_words_of_a_question_are_looked_for_until_shortly_after_it() -> None:
    ((first, last, words),) = example(session(1), CONFIG, WORDS).asked
    assert (first, last) == (21, 34)
    assert words == WORDS.numbers("spell cat")


def test_an_ending_keeps_only_the_questions_that_it_has_whole() -> None:
    made = example(session(1), CONFIG, WORDS)
    assert ending(made, 20).asked == ((1, 14, WORDS.numbers("spell cat")),)
    assert ending(made, 22).asked == ()
    assert torch.equal(ending(made, 22).inputs, made.inputs[22:])


def test_padding_is_trained_on_by_nothing() -> None:
    long, short = (example(session(1, frames), CONFIG, WORDS) for frames in (60, 45))
    batch = collate([long, short])
    assert bool((batch.targets[1, 45:] == NONE).all() and (batch.phones[1, 45:] == NONE).all())
    assert not batch.speaking[1, 45:].any()
    assert batch.frames == 120


def test_a_pass_has_every_session_once_and_the_same_seed_the_same_order() -> None:
    examples = [example(session(number, 50 + number), CONFIG, WORDS) for number in range(23)]
    order = [batch.targets[:, -1].tolist() for batch in Batches(examples, 200, seed=3).one_pass(1)]
    again = [batch.targets[:, -1].tolist() for batch in Batches(examples, 200, seed=3).one_pass(1)]
    other = [batch.targets[:, -1].tolist() for batch in Batches(examples, 200, seed=3).one_pass(2)]
    assert order == again != other
    assert sum(map(len, order)) == 23


def test_batches_are_about_as_large_as_asked_for() -> None:
    examples = [example(session(number, 40 + 3 * number), CONFIG, WORDS) for number in range(40)]
    sizes = [batch.frames for batch in Batches(examples, 600, seed=1).one_pass(0)]
    assert max(sizes) <= 660

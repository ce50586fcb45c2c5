"""The course of calls, with voices that need no synthesiser."""

from __future__ import annotations

import math
from random import Random

import numpy as np
import pytest

from moshi_cluster.audio.frame import FRAME_S, FRAME_SAMPLES, MODEL_RATE_HZ
from tests.training.world.fake_voices import fake_voices  # noqa: F401
from training.world.callers import caller_voice
from training.world.exchanges import GREETING
from training.world.holdout import held_out
from training.world.phones import SILENCE
from training.world.session import ALONE_GAP_S, GREETING_FRAME, STOP_FRAMES, SoundSession, Turn, generate, monologue
from training.world.speech import PHONE_SAMPLES

pytestmark = pytest.mark.usefixtures("fake_voices")
_ENOUGH = 40  # calls, for everything to happen


@pytest.fixture(scope="module")
def calls(fake_voices: None) -> list[SoundSession]:  # noqa: F811
    return [generate(number, "train") for number in range(100, 100 + _ENOUGH)]


def _answers(calls: list[SoundSession]) -> list[tuple[Turn, SoundSession]]:
    return [(turn, call) for call in calls for turn in call.turns]


def test_the_same_number_is_the_same_call() -> None:
    first, second = generate(5, "train"), generate(5, "train")
    np.testing.assert_array_equal(first.user, second.user)
    assert first.turns == second.turns


def test_another_split_is_another_call() -> None:
    assert generate(5, "train").turns != generate(5, "eval").turns


def test_a_call_is_whole_frames_with_four_phones_each(calls: list[SoundSession]) -> None:
    for call in calls:
        assert len(call.user) == len(call.moshi)
        assert len(call.user) % FRAME_SAMPLES == 0
        assert len(call.user_phones) == len(call.moshi_phones) == len(call.user) // PHONE_SAMPLES


def test_moshi_greets_first_in_every_call(calls: list[SoundSession]) -> None:
    for call in calls:
        greeting = [word.label for word in call.words[: len(GREETING.split())]]
        assert " ".join(greeting) == GREETING
        assert call.words[0].start_s == pytest.approx(GREETING_FRAME * FRAME_S)


def test_moshi_starts_on_the_edge_of_a_frame_after_true_silence(calls: list[SoundSession]) -> None:
    for turn, call in _answers(calls):
        start = round(turn.reply_start_s * MODEL_RATE_HZ)
        assert start % FRAME_SAMPLES == 0
        assert not call.moshi[start - FRAME_SAMPLES : start].any()
        assert call.moshi[start : start + 10].any()


def test_replies_come_four_to_six_frames_after_the_question(calls: list[SoundSession]) -> None:
    delays = {round(turn.reply_start_s / FRAME_S) - math.ceil(turn.user_end_s / FRAME_S) for turn, _ in _answers(calls)}
    assert delays == {4, 5, 6}


def test_words_in_order_are_the_greeting_and_the_replies(calls: list[SoundSession]) -> None:
    for call in calls:
        said = " ".join(word.label for word in call.words)
        assert said == " ".join([GREETING, *(turn.reply_text for turn in call.turns)])
        starts = [word.start_s for word in call.words]
        assert starts == sorted(starts)


def test_phones_are_where_the_sound_is(calls: list[SoundSession]) -> None:
    for call in calls:
        sounding = np.abs(call.moshi.reshape(-1, PHONE_SAMPLES)).max(axis=1) > 0
        assert np.mean(sounding == (call.moshi_phones != 0)) > 0.99
        assert call.moshi_phones[0] == 0, SILENCE


def test_some_callers_say_nothing_and_moshi_only_greets(calls: list[SoundSession]) -> None:
    quiet = [call for call in calls if not call.turns]
    assert 0 < len(quiet) < _ENOUGH // 4
    for call in quiet:
        assert not call.user_phones.any()
        assert len(call.words) == len(GREETING.split())
        assert call.seconds > 6


def test_moshi_stops_when_a_caller_talks_over_it(calls: list[SoundSession]) -> None:
    stopped = 0
    for call in calls:
        for turn, following in zip(call.turns, call.turns[1:], strict=False):
            assert turn.interrupted == following.interrupts
            if turn.interrupted:
                stopped += 1
                stop = round(turn.reply_end_s * MODEL_RATE_HZ)
                waited_s = turn.reply_end_s - following.user_start_s
                assert (STOP_FRAMES - 1) * FRAME_S <= waited_s <= STOP_FRAMES * FRAME_S + 1e-6
                assert following.reply_start_s > turn.reply_end_s
                assert not call.moshi[stop : round(following.reply_start_s * MODEL_RATE_HZ)].any()
    assert stopped > 0


def test_a_caller_alone_asks_on_and_is_not_answered() -> None:
    call = monologue(5)
    assert not call.moshi.any()
    assert not call.words
    assert len(call.turns) >= 3
    for turn, following in zip(call.turns, call.turns[1:], strict=False):
        assert ALONE_GAP_S[0] <= following.user_start_s - turn.user_end_s + 0.1
        assert turn.reply_text == ""
        assert not turn.unseen


def test_the_last_reply_of_a_call_is_never_cut(calls: list[SoundSession]) -> None:
    for call in calls:
        assert not call.turns or not call.turns[-1].interrupted
        assert not call.moshi[-10:].any()


def test_voices_of_the_evaluation_are_not_in_the_training() -> None:
    trained = {caller_voice(Random(f"a {number}"), "train").cell for number in range(2000)}
    evaluated = {caller_voice(Random(f"b {number}"), "eval").cell for number in range(300)}
    assert not trained & evaluated
    assert all(held_out("voice", cell, one_in=5) for cell in evaluated)

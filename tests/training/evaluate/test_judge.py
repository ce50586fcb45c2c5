"""The report counts what it says it counts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from moshi_cluster.audio.pcm import Samples
from training.evaluate.judge import HeldCall, judge
from training.evaluate.report import Count
from training.world.exchanges import GREETING


def call(
    *said: tuple[int, str], turns: list[dict[str, Any]], sounding_until_s: float = 0.0, delay_s: float = 0.0
) -> HeldCall:
    """said: words from a frame on, one per frame."""
    pieces = [""] * 125
    for frame, words in said:
        spelled = [f" {word}" for word in words.split()]
        pieces[frame : frame + len(spelled)] = spelled
    sound = np.zeros(125 * 1920, dtype=np.float32)
    sound[: round(sounding_until_s * 24_000)] = 0.1
    return HeldCall(turns, pieces, sound, delay_s)


def turn(start: float, end: float, reply: str, **flags: bool) -> dict[str, Any]:
    usual = {"interrupts": False, "interrupted": False, "unseen": False}
    times = {"user_start_s": start, "user_end_s": end}
    return {"kind": "color", "user_text": "?", "reply_text": reply} | times | usual | flags


def hears(words: str) -> Any:
    def hear(sound: Samples) -> str:
        return words

    return hear


def test_right_and_wrong_answers() -> None:
    turns = [turn(1.5, 2.0, "the sky is blue", unseen=True), turn(4.0, 5.0, "the sun is yellow")]
    held = call((5, GREETING), (30, "the sky is blue"), (70, "the sun is red"), turns=turns)
    report = judge([held], hears("the sky is blue"))
    assert report.right == Count(1, 2) == report.answers["color"]
    assert report.unseen == Count(1, 1) == report.understood
    assert report.greeted == Count(1, 1)
    assert report.mistakes == [{"asked": "?", "expected": "the sun is yellow", "said": "the sun is red"}]


def test_a_right_text_with_another_sound_is_not_understood() -> None:
    held = call((5, GREETING), (30, "the sky is blue"), turns=[turn(1.5, 2.0, "the sky is blue")])
    report = judge([held], hears("the sky is red"))
    assert report.understood == Count(0, 1)
    assert report.misheard == [{"said": "the sky is blue", "heard": "the sky is red"}]


def test_babble_on_a_silent_line_is_noticed() -> None:
    calls = [call((5, GREETING), turns=[]), call((5, GREETING), (60, "blue"), turns=[])]
    report = judge(calls, hears(""))
    assert report.quiet == Count(1, 2)
    assert report.greeted == Count(2, 2)


@pytest.mark.parametrize(("until_s", "expected"), [(3.3, Count(1, 1)), (3.6, Count(0, 1)), (2.0, Count(0, 0))])
def test_an_interruption_has_to_stop_speech_in_time(until_s: float, expected: Count) -> None:
    turns = [turn(1.5, 2.0, "one", interrupted=True), turn(3.0, 4.0, "two", interrupts=True)]
    assert judge([call(turns=turns, sounding_until_s=until_s)], hears("")).stopped == expected


def test_what_the_line_takes_counts_when_an_interruption_is_timed() -> None:
    turns = [turn(1.5, 2.0, "one", interrupted=True), turn(3.0, 4.0, "two", interrupts=True)]
    stopped = [
        judge([call(turns=turns, sounding_until_s=3.3, delay_s=delay)], hears("")).stopped for delay in (0.05, 0.15)
    ]
    assert stopped == [Count(1, 1), Count(0, 1)]


def test_the_table_has_a_row_for_every_figure() -> None:
    report = judge([call((5, GREETING), turns=[turn(1.5, 2.0, "two")])], hears(""))
    table = report.table()
    assert "| answers exactly right | 0 of 1 (0.0 %) | 90 % |" in table
    assert "| ... color | 0 of 1 (0.0 %) |" in table

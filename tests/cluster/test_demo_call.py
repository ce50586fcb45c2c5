"""What a caller of the demo keeps of a call."""

from __future__ import annotations

import asyncio
import io
import wave
from array import array
from pathlib import Path

import numpy as np

from moshi_cluster.cluster.columns import Columns
from moshi_cluster.cluster.demo_call import Answered, DemoCall, write_both
from moshi_cluster.cluster.recorded_callers import RecordedCaller
from moshi_cluster.v1 import gateway_pb2


def turn(asked: str, expected: str, end_s: float, interrupted: bool = False) -> dict[str, object]:
    return {"user_text": asked, "reply_text": expected, "user_end_s": end_s, "interrupted": interrupted}


async def test_what_is_said_belongs_to_the_question_before_it() -> None:
    out = io.StringIO()
    recording = RecordedCaller(b"", [turn("what is one plus one", "one plus one is two", 0.0)])
    call = DemoCall(0, recording, Columns(1, out))
    call.text(" hello")
    call.started(gateway_pb2.Started())
    await asyncio.sleep(0.01)
    for word in ["one", "plus", "one", "is", "two"]:
        call.text(f" {word}")
    greeting, answer = call.answers
    assert (greeting.said, greeting.counts) == (" hello", False)
    assert answer.counts
    assert answer.right
    # The greeting was shown before the question; the answer waits for a pause.
    assert [line.split("s ", 1)[1].strip() for line in out.getvalue().splitlines()] == [
        "> hello",
        "what is one plus one",
    ]


def test_interrupted_answers_are_neither_right_nor_wrong() -> None:
    assert not Answered(turn("tell me the days", "monday", 1.0, interrupted=True), " monday tuesday").counts


def test_both_voices_are_side_by_side_and_in_time(tmp_path: Path) -> None:
    mu_law = bytearray(b"\xff" * 8000)
    mu_law[4000] = 0x80  # the loudest there is
    moshi = array("h", [0]) * 24_000
    moshi[12_000] = 20_000
    write_both(tmp_path / "both.wav", bytes(mu_law), moshi)
    with wave.open(str(tmp_path / "both.wav")) as file:
        voices = np.frombuffer(file.readframes(24_000), "<i2").reshape(-1, 2)
    assert abs(int(voices[:, 0].argmax()) - 12_000) <= 1
    assert int(voices[:, 1].argmax()) == 12_000

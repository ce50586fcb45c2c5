"""Who calls when, and what is kept of a reply. Whole calls: tests/cluster/test_answers.py."""

from __future__ import annotations

import numpy as np

from moshi_cluster.v1 import gateway_pb2
from training.evaluate.calling import Transcript, samples, schedule


def test_whoever_is_free_first_takes_the_next_call() -> None:
    plan = schedule([75, 25, 50, 50], callers=2)  # 6, 2, 4 and 4 seconds
    assert [call.caller for call in plan] == [0, 1, 1, 0]
    assert [call.frames for call in plan] == [75, 25, 50, 50]
    assert plan[2].start_s > plan[1].start_s + 2
    assert plan[3].start_s > plan[0].start_s + 6


def test_no_caller_is_in_two_calls_at_once() -> None:
    plan = schedule([25 * (1 + n % 7) for n in range(40)], callers=5)
    for caller in range(5):
        own = [call for call in plan if call.caller == caller]
        assert all(a.start_s + a.frames * 0.08 < b.start_s for a, b in zip(own, own[1:], strict=False))


def text(piece: str, frame: int) -> gateway_pb2.ConverseResponse:
    return gateway_pb2.ConverseResponse(text=gateway_pb2.Text(piece=piece, frame_index=frame))


def audio(first_sample: int, value: int, count: int) -> gateway_pb2.ConverseResponse:
    data = np.full(count, value, "<i2").tobytes()
    return gateway_pb2.ConverseResponse(audio=gateway_pb2.ReplyAudio(data=data, first_sample=first_sample))


def test_words_are_kept_at_their_frames() -> None:
    transcript = Transcript(frames=4)
    for message in (text(" blue", 1), text(" tig", 3), text("er", 3), text(" late", 4)):
        transcript.take(message)
    assert transcript.pieces == ["", " blue", "", " tiger"]


def test_sound_keeps_its_place_where_some_of_it_never_came() -> None:
    transcript = Transcript(frames=2)
    transcript.take(audio(0, 16384, 480))
    transcript.take(audio(960, -16384, 480))
    sound = samples(transcript)
    assert len(sound) == 2 * 1920
    assert (sound[:480] == 0.5).all()
    assert (sound[480:960] == 0).all()
    assert (sound[960:1440] == -0.5).all()
    assert (sound[1440:] == 0).all()

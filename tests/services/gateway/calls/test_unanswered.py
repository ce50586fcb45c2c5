"""Frames that a worker leaves unanswered, looked at once a second."""

from __future__ import annotations

from collections import deque

import numpy as np

from moshi_cluster.services.gateway.calls.ingress import UserFrame
from moshi_cluster.services.gateway.calls.unanswered import UnansweredFrames

SILENCE = np.zeros(1920, np.float32)


def test_a_frame_is_unanswered_for_as_long_as_it_is_the_oldest() -> None:
    first, second = UserFrame(SILENCE, 0.0), UserFrame(SILENCE, 0.0)
    encoding, decoding = deque([first]), deque[UserFrame]()
    unanswered = UnansweredFrames((encoding, decoding))
    seen = []

    def look() -> None:
        unanswered.look(0, 1.0)
        seen.append(unanswered.unanswered_s)

    look()
    look()
    look()
    decoding.append(encoding.popleft())  # answered in time
    encoding.append(second)
    look()
    encoding.clear()
    look()
    look()
    assert unanswered.hop == 1
    decoding.clear()
    look()
    assert seen == [0.0, 1.0, 2.0, 0.0, 1.0, 2.0, 0.0]


def test_a_worker_is_silent_only_while_it_leaves_a_frame_unanswered_and_is_not_heard_by_any_call() -> None:
    waiting = deque[UserFrame]()
    unanswered = UnansweredFrames((waiting,))
    seen = []
    for heard, waits in [(1, False), (1, False), (1, True), (1, True), (1, True), (2, True), (2, True), (2, True)]:
        if waits and not waiting:
            waiting.append(UserFrame(SILENCE, 0.0))
        unanswered.look(heard, 1.0)
        seen.append(unanswered.silent_s)
    assert seen == [0.0, 0.0, 0.0, 1.0, 2.0, 0.0, 1.0, 2.0]
    unanswered.restart()
    assert (unanswered.silent_s, unanswered.unanswered_s) == (0.0, 0.0)

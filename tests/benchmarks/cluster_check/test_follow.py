"""Callers are followed wherever their program runs, and however it ends."""

from __future__ import annotations

import sys

import pytest

from benchmarks.cluster_check.callers import Talk
from benchmarks.cluster_check.errors import CheckFailed
from benchmarks.cluster_check.follow import FollowedCallers

_TALK = '{"talks": [{"is_short": false, "opened_s": 1.0, "moved": 2}]}'


def program(*lines: str, then: str = "") -> list[str]:
    return [sys.executable, "-c", f"print({chr(10).join(lines)!r}, flush=True)\n{then}"]


def test_what_they_say_is_read() -> None:
    with FollowedCallers(program('{"up": 8}', _TALK), 1.0) as callers:
        callers.wait_until_up(8)
        assert callers.talks() == [Talk(False, 1.0, moved=2)]


def test_fewer_calls_than_wanted_are_told() -> None:
    callers = FollowedCallers(program('{"up": 6}'), 1.0)
    with callers, pytest.raises(CheckFailed, match="2 calls did not begin"):
        callers.wait_until_up(8)


def test_a_program_that_ends_early_is_told_at_once() -> None:
    with FollowedCallers(program('{"up": 8}'), 600.0) as callers:
        callers.wait_until_up(8)
        with pytest.raises(CheckFailed, match="nothing of 'talks': the callers' program has ended"):
            callers.talks()


def test_why_it_could_not_be_started_is_told() -> None:
    def not_ready() -> None:
        raise CheckFailed("no node has room")

    for callers, why in (
        (FollowedCallers(program(), 1.0, not_ready), "no node has room"),
        (FollowedCallers(["/nowhere/python"], 1.0), "No such file"),
    ):
        with callers, pytest.raises(CheckFailed, match=why):
            callers.wait_until_up(8)


def test_what_is_no_answer_is_told() -> None:
    callers = FollowedCallers(program("Traceback"), 1.0)
    with callers, pytest.raises(CheckFailed, match="were to say 'up': Traceback"):
        callers.wait_until_up(8)


def test_who_leaves_ends_the_program() -> None:
    with FollowedCallers(program('{"up": 8}', then="import time; time.sleep(600)"), 600.0) as callers:
        callers.wait_until_up(8)
    with pytest.raises(CheckFailed, match="has ended"):
        callers.talks()

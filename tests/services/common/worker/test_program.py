"""When a step begins: whom a program waits for, and for how long."""

from __future__ import annotations

import math
from collections import deque
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moshi_cluster.services.common.worker.program import Program
from moshi_cluster.services.common.worker.session import Waiting
from tests.services.fake_runner import FakeRunner

GATHER_S = 0.020
LATE_S = 0.003


def session(arrival_s: float | None = None, next_arrival_s: float = math.inf, prepared: bool = True) -> SimpleNamespace:
    """A session whose frame came at arrival_s, or whose next one is expected; the default has sent nothing yet."""
    waiting = deque([] if arrival_s is None else [Waiting("frame", arrival_s)])
    steppable = prepared and bool(waiting)
    return SimpleNamespace(
        waiting=waiting, next_arrival_s=next_arrival_s, prepared=prepared, ended=False, steppable=steppable
    )


def due_s(*sessions: SimpleNamespace, gather_s: float = GATHER_S, max_batch: int = 8) -> float:
    program = Program("fake", FakeRunner(), 8, max_batch, gather_s, LATE_S)
    program.sessions = list(sessions)  # type: ignore[arg-type]
    return program.step_due_s()


def test_without_a_frame_there_is_no_step() -> None:
    assert due_s(session(), session(next_arrival_s=5.0)) == math.inf


def test_who_is_expected_in_time_is_waited_for() -> None:
    assert due_s(session(1.0), session(next_arrival_s=1.010)) == pytest.approx(1.010 + LATE_S)


def test_the_last_one_expected_in_time_counts() -> None:
    others = [session(next_arrival_s=at_s) for at_s in (1.002, 1.012, 1.030)]
    assert due_s(session(1.0), *others) == pytest.approx(1.012 + LATE_S)


def test_no_frame_waits_longer_than_the_gather_time() -> None:
    assert due_s(session(1.0), session(next_arrival_s=1.0 + GATHER_S)) == pytest.approx(1.0 + GATHER_S)


@pytest.mark.parametrize(
    "other",
    [
        session(),  # has sent nothing yet
        session(next_arrival_s=0.5),  # stands still
        session(next_arrival_s=1.1),  # comes too late
        session(next_arrival_s=1.01, prepared=False),
        session(1.01),  # is there
    ],
)
def test_nobody_is_waited_for_in_vain(other: SimpleNamespace) -> None:
    assert due_s(session(1.0), other) == 1.0


def test_a_full_batch_waits_for_nobody_and_without_a_gather_time_nobody_waits() -> None:
    assert due_s(session(1.0), session(1.001), session(next_arrival_s=1.01), max_batch=2) == 1.0
    assert due_s(session(1.0), session(next_arrival_s=1.01), gather_s=0.0) == 1.0


@given(
    arrivals_s=st.lists(st.floats(1.0, 1.05), min_size=1, max_size=4),
    expected_s=st.lists(st.floats(0.0, 2.0), max_size=6),
)
def test_a_step_begins_between_the_first_arrival_and_the_end_of_its_gather_time(
    arrivals_s: list[float], expected_s: list[float]
) -> None:
    due = due_s(*map(session, arrivals_s), *(session(next_arrival_s=at_s) for at_s in expected_s), max_batch=64)
    first_s = min(arrivals_s)
    assert first_s <= due <= first_s + GATHER_S
    assert all(at_s <= due for at_s in expected_s if at_s <= first_s + GATHER_S)

"""What breaks a promise of a cluster check."""

from __future__ import annotations

from benchmarks.cluster_check.callers import Talk
from benchmarks.cluster_check.report import HEADER, Outcome
from benchmarks.cluster_check.scenarios import Limits

FINE = Talk(is_short=False, opened_s=0.0, gap_s=0.5)


def broken(*talks: Talk, refusing_s: float = 0.0) -> list[str]:
    outcome = Outcome("drain", Limits(1.0, refusing_s), talks, 5.0)
    assert len(outcome.row()) == len(HEADER)
    return list(outcome.broken())


def test_calls_that_go_on_break_nothing() -> None:
    assert broken(FINE, Talk(is_short=True, opened_s=1.0, gap_s=9.0)) == []


def test_a_lost_call_is_told_with_its_reasons() -> None:
    (sentence,) = broken(FINE, Talk(False, 2.0, lost="NOT_FOUND", cuts=["4.0 s cut off", "5.0 s NOT_FOUND"]))
    assert sentence == "drain: lost, of 2.0 s: 4.0 s cut off; 5.0 s NOT_FOUND"


def test_calls_may_be_refused_for_as_long_as_the_scenario_says() -> None:
    refused = [Talk(True, opened_s, refused="UNAVAILABLE: no worker") for opened_s in (3.0, 4.5)]
    assert broken(FINE, *refused, refusing_s=2.0) == []
    assert broken(FINE, *refused, refusing_s=1.0) == ["drain: 2 refused within 1.5 s: UNAVAILABLE: no worker"]
    assert len(broken(FINE, refused[0])) == 1


def test_a_gap_that_is_too_long_is_told() -> None:
    assert broken(Talk(False, 0.0, gap_s=1.5)) == ["drain: a gap of 1.50 s, more than 1 s"]

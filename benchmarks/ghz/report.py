"""ghz report reader: what a report says about real time."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from benchmarks.ghz.scenario import GhzScenario

# A caller waits between its sends, so a call that was served is never shorter than these waits. ghz calls one OK when a
# send finds the call over before its status was read (grpc-go tells of a clean end then): it was refused.
ENDED_EARLY = "ended early"
_MISSED = "DeadlineExceeded"
_NS = 1e-9


@dataclass(frozen=True)
class Result:
    """One run of one scenario."""

    scenario: GhzScenario
    statuses: Mapping[str, int]  # codes as ghz spells them, and ENDED_EARLY
    errors: Mapping[str, int]  # message -> calls
    excess_s: tuple[float, ...]  # of the calls that ended OK: length minus ideal
    up_at_first_missed: int | None  # calls that were up when the first one passed a limit; None: none did

    @property
    def unexpected(self) -> list[str]:
        """Outcomes that should not be there, and those that are missing."""
        got = set(self.statuses)
        missing = [f"no {code}" for code in sorted(self.scenario.required - got)]
        return sorted(got - self.scenario.expected) + missing


def read(scenario: GhzScenario, report: Mapping[str, Any]) -> Result:
    """A report as `--format json` writes it."""
    ideal_s = scenario.ideal_s()
    calls = [_Call.read(call, ideal_s) for call in report.get("details") or []]  # null when no call ended
    return Result(
        scenario,
        Counter(call.outcome for call in calls),
        dict(report.get("errorDistribution") or {}),
        tuple(call.length_s - ideal_s for call in calls if call.outcome == "OK"),
        _up_at_first_missed(calls),
    )


def line(result: Result, calibration: Result | None) -> str:
    """One line for people; calibration: of the same scenario, None when there is none."""
    statuses = ", ".join(f"{count} {code}" for code, count in sorted(result.statuses.items())) or "no call ended"
    parts = [f"{result.scenario.name:<13} {statuses}"]
    if result.up_at_first_missed is not None:
        parts.append(f"first {_MISSED} with {result.up_at_first_missed} calls up")
    if result.excess_s:
        parts.append(f"length - ideal: median {_ms(statistics.median(result.excess_s))} ms")
        if calibration is not None and result.up_at_first_missed is None:  # else fewer were up than calibrated for
            parts.append(_lag(result.excess_s, calibration.excess_s))
    return "; ".join(parts)


@dataclass(frozen=True)
class _Call:
    """One call as ghz reports it."""

    outcome: str
    end_s: float
    length_s: float

    @classmethod
    def read(cls, call: Mapping[str, Any], ideal_s: float) -> _Call:
        length_s = call["latency"] * _NS
        early = call["status"] == "OK" and length_s < ideal_s
        end_s = datetime.fromisoformat(call["timestamp"]).timestamp()  # ghz's timestamp is the end
        return cls(ENDED_EARLY if early else call["status"], end_s, length_s)

    def is_up(self, at_s: float) -> bool:
        return self.end_s - self.length_s <= at_s <= self.end_s


def _up_at_first_missed(calls: Sequence[_Call]) -> int | None:
    missed_s = [call.end_s for call in calls if call.outcome == _MISSED]
    return sum(call.is_up(min(missed_s)) for call in calls) if missed_s else None


def _lag(excess_s: Sequence[float], calibration_s: Sequence[float]) -> str:
    """What is left of the excess without that of loopback calls, between the largest and the smallest of them."""
    least_s, most_s = max(calibration_s), min(calibration_s)
    spans = [
        f"{name} {_ms(value_s - least_s)} to {_ms(value_s - most_s)} ms"
        for name, value_s in (("median", statistics.median(excess_s)), ("largest", max(excess_s)))
    ]
    return f"lag at the end: {', '.join(spans)}"


def _ms(value_s: float) -> str:
    return f"{value_s * 1e3:.0f}"

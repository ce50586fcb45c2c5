"""ghz report reader: what a report says about real time."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.ghz.scenario import GhzScenario

_NS = 1e-9


@dataclass(frozen=True)
class Result:
    """One run of one scenario."""

    scenario: GhzScenario
    statuses: Mapping[str, int]
    errors: Mapping[str, int]  # message -> calls
    excess_s: tuple[float, ...]  # of the calls that ended OK: length minus ideal
    sends: int  # of one call

    @property
    def unexpected(self) -> list[str]:
        """Status codes that should not be there, and those that are missing."""
        got = set(self.statuses)
        missing = [f"no {code}" for code in sorted(self.scenario.required - got)]
        return sorted(got - self.scenario.expected) + missing

    def drift_s(self) -> float:
        """What a send costs beyond its interval, in seconds; says something of loopback calls only."""
        return statistics.median(self.excess_s) / (self.sends - 1) if self.excess_s else 0.0

    def lags_s(self, drift_s: float) -> list[float]:
        """How late each call was at its end, in seconds, ascending: its excess without the drift of its sender."""
        return sorted(excess - drift_s * (self.sends - 1) for excess in self.excess_s)


def read(scenario: GhzScenario, report: Mapping[str, Any]) -> Result:
    """A report as `--format json` writes it."""
    calls = report.get("details") or []  # null when no call ended
    ideal_s = scenario.ideal_s()
    return Result(
        scenario,
        Counter(call["status"] for call in calls),
        dict(report.get("errorDistribution") or {}),
        tuple(call["latency"] * _NS - ideal_s for call in calls if call["status"] == "OK"),
        scenario.sends(),
    )


def line(result: Result, drift_s: float | None) -> str:
    """One line for people; drift_s: of the calibration, None when there is none."""
    statuses = ", ".join(f"{count} {code}" for code, count in sorted(result.statuses.items())) or "no call ended"
    text = f"{result.scenario.name:<21} {statuses}"
    if result.excess_s:
        excess_ms = statistics.median(result.excess_s) * 1e3
        text += f"; length - ideal: median {excess_ms:.0f} ms"
        if drift_s is not None:
            lags_s = result.lags_s(drift_s)
            text += (
                f"; lag at the end: median {statistics.median(lags_s) * 1e3:.0f} ms, largest {lags_s[-1] * 1e3:.0f} ms"
            )
    return text

"""Evaluation report: what was counted, what is asked for, and a table of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

STOPPED_WITHIN_S = 0.4


@dataclass
class Count:
    """`good` of `all`."""

    good: int = 0
    all: int = 0

    def add(self, good: bool) -> None:
        self.good += good
        self.all += 1

    @property
    def share(self) -> float:
        return self.good / self.all if self.all else 0.0

    def __str__(self) -> str:
        return f"{self.good} of {self.all} ({100 * self.share:.1f} %)"


@dataclass
class EvaluationReport:
    """Counts over all calls of an evaluation."""

    answers: dict[str, Count] = field(default_factory=dict)  # by kind: the text is exactly right
    unseen: Count = field(default_factory=Count)  # of these, combinations that training left out
    understood: Count = field(default_factory=Count)  # of right answers, the recogniser hears the same words
    greeted: Count = field(default_factory=Count)  # calls that begin with the greeting and nothing else
    quiet: Count = field(default_factory=Count)  # calls without a question in which Moshi says nothing more
    stopped: Count = field(default_factory=Count)  # interruptions after which Moshi is silent in time
    mistakes: list[dict[str, str]] = field(default_factory=list)
    misheard: list[dict[str, str]] = field(default_factory=list)

    @property
    def right(self) -> Count:
        return total(self.answers.values())

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"right": asdict(self.right)}

    def table(self) -> str:
        """Markdown."""
        rows = [
            ("answers exactly right", self.right, "90 %"),
            ("... of combinations never trained", self.unseen, ""),
            *((f"... {kind}", count, "") for kind, count in sorted(self.answers.items())),
            ("right answers that the recogniser understands", self.understood, "85 %"),
            (f"interruptions: silent within {1000 * STOPPED_WITHIN_S:.0f} ms", self.stopped, "80 %"),
            ("calls that begin with the greeting", self.greeted, ""),
            ("silent callers: nothing said but the greeting", self.quiet, ""),
        ]
        return "\n".join(["| | measured | asked for |", "|---|---|---|", *(f"| {a} | {b} | {c} |" for a, b, c in rows)])


def total(counts: Iterable[Count]) -> Count:
    """All of them together."""
    counts = list(counts)
    return Count(sum(count.good for count in counts), sum(count.all for count in counts))

"""What callers got of a scenario, as a row of the table, and what of it breaks a promise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.cluster_check.callers import Talk
from benchmarks.cluster_check.scenarios import Limits

HEADER = (
    "",
    "calls",
    "new",
    "lost",
    "refused",
    "refusing, s",
    "moved",
    "resumed",
    "gap of calls, s",
    "of new",
    "set-up, s",
    "took, s",
)


@dataclass(frozen=True)
class Outcome:
    """Of one scenario."""

    name: str
    limits: Limits
    talks: Sequence[Talk]
    took_s: float  # what happened to the cluster

    @property
    def lost(self) -> list[Talk]:
        """Began, and ended before their callers meant it."""
        return [talk for talk in self.talks if talk.lost]

    @property
    def refused(self) -> list[Talk]:
        """Never began."""
        return [talk for talk in self.talks if talk.refused]

    @property
    def refusing_s(self) -> float:
        """From the first call that was refused to the last."""
        opened_s = [talk.opened_s for talk in self.refused]
        return max(opened_s) - min(opened_s) if opened_s else 0.0

    @property
    def gap_s(self) -> float:
        """The longest of all long calls."""
        return max((talk.gap_s for talk in self.talks if not talk.is_short), default=0.0)

    def row(self) -> tuple[str, ...]:
        """Cells under HEADER."""
        short = [talk for talk in self.talks if talk.is_short]
        return (
            self.name,
            str(len(self.talks) - len(short)),
            str(len(short)),
            str(len(self.lost)),
            str(len(self.refused)),
            f"{self.refusing_s:.1f}" if self.refused else "",
            str(sum(talk.moved for talk in self.talks)),
            str(sum(talk.resumed for talk in self.talks)),
            f"{self.gap_s:.2f}",
            f"{max((talk.gap_s for talk in short), default=0.0):.2f}",
            f"{max((talk.setup_s for talk in self.talks), default=0.0):.2f}",
            f"{self.took_s:.0f}",
        )

    def broken(self) -> Iterator[str]:
        """A sentence for each promise that was not kept."""
        for talk in self.lost:
            yield f"{self.name}: lost, of {talk.opened_s:.1f} s: {_told(talk.cuts)}"
        if self.refused and (not self.limits.refusing_s or self.refusing_s > self.limits.refusing_s):
            yield f"{self.name}: {len(self.refused)} refused within {self.refusing_s:.1f} s: {self.refused[0].refused}"
        if self.gap_s > self.limits.gap_s:
            yield f"{self.name}: a gap of {self.gap_s:.2f} s, more than {self.limits.gap_s:g} s"


def _told(cuts: Sequence[str]) -> str:
    """The first ones and the last."""
    return "; ".join(cuts if len(cuts) <= 4 else [*cuts[:3], "...", cuts[-1]])

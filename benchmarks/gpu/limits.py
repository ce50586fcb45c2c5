"""What a card has to reach, figure by figure, and the verdict on what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.gpu.report import Figure, Note

CALLS, CALLS_ON_SMALLER_CARDS = 128, 64
LARGE_CARD_BYTES = 100e9
KV_DTYPES = ("int8", "bfloat16")
FULL = "100% of the window"
NOT_A_FAILURE = "may differ"
"""In the name of an equality that is wished for and not promised."""


@dataclass(frozen=True)
class Limit:
    """A bound of one figure."""

    part: str
    name: str
    bound: float
    unit: str
    at_least: bool = False

    def __str__(self) -> str:
        return "passed" if self.unit == "passed" else f"{'>=' if self.at_least else '<='} {self.bound:g} {self.unit}"

    def verdict(self, value: float) -> str:
        """Whether it is kept, or by how much it is not."""
        if value >= self.bound if self.at_least else value <= self.bound:
            return "met"
        return "missed" if self.unit == "passed" else f"missed by {abs(value - self.bound) / self.bound:.0%}"


def limits(batches: Sequence[int], memory_bytes: float) -> list[Limit]:
    """batches: sessions that are measured, four figures; memory_bytes: of the card."""
    one, few, many, most = batches
    calls = min(most, CALLS if memory_bytes > LARGE_CARD_BYTES else CALLS_ON_SMALLER_CARDS)
    equal = [f"{kv}: {check}" for kv in KV_DTYPES for check in equalities(many, most)]
    return [
        *(Limit("equalities", name, 1, "passed", True) for name in equal),
        Limit("attention", f"int8, {most} rows, {FULL}", 75, "% of a copy", True),
        Limit("attention", f"bfloat16, {most} rows, {FULL}", 85, "% of a copy", True),
        Limit("static step", f"int8, {many} sessions, {FULL}: p50 / floor", 1.5, "x"),
        Limit("static step", f"int8, {most} sessions, {FULL}: p50", 40, "ms"),
        Limit("upstream", f"{one} sessions, {FULL}: times faster", 2.4, "x", True),
        Limit("upstream", f"{few} sessions, {FULL}: times faster", 1.9, "x", True),
        Limit("upstream", f"{many} sessions, {FULL}: times faster", 2.2, "x", True),
        Limit("upstream", f"{many} sessions, 25% of the window: times faster", 4, "x", True),
        Limit("calls", "calls at once", calls, "calls", True),
        Limit("calls", "random phases: turnaround p99", 60, "ms"),
        Limit("join", "the others' p99 grows by", 5, "ms"),
    ]  # fmt: skip


def equalities(many: int, most: int) -> list[str]:
    """What has to be equal, bit for bit; many, most: rows of buckets."""
    return [
        "recorded = eager",
        "alone = the last of a full batch",
        f"a bucket of {most} = one of {many} (products {NOT_A_FAILURE})",
        "prefilled = stepped",
        "after what others left behind = fresh",
    ]


def verdicts(wanted: Sequence[Limit], entries: Sequence[Figure | Note]) -> str:
    """A table in Markdown with a row for every limit; of what was not measured it says why."""
    rows = ["| part | figure | wanted | measured | verdict |", "|---|---|---|---|---|"]
    figures = {(entry.part, entry.name): entry for entry in entries if isinstance(entry, Figure)}
    for limit in wanted:
        found = figures.get((limit.part, limit.name))
        verdict = f"not run: {_why(limit.part, entries)}" if found is None else limit.verdict(found.value)
        rows.append(f"| {limit.part} | {limit.name} | {limit} | {found or ''} | {verdict} |")
    return "\n".join(rows)


def _why(part: str, entries: Sequence[Figure | Note]) -> str:
    notes = [entry.text for entry in entries if isinstance(entry, Note) and entry.part == part]
    return "; ".join(notes) or "the part was not asked for"

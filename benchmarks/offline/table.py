"""Markdown tables of results."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.offline.measure import Timings
from benchmarks.offline.rates import Rates
from benchmarks.offline.results import Row

_UNITS = {"lm": "LM step", "mimi": "codec frame, encoded and decoded"}


def comparison(rows: Sequence[Row], rates: Rates) -> str:
    """Rows of one model: ours, upstream, floor."""
    size = rows[0].size
    held = "positions" if size.kind == "mimi" else "frames"
    head = ["sessions", f"{held} held", "ours ms", "per session", "upstream ms", "faster"]
    head += ["read ms", "multiply ms", "ours / floor"]
    title = f"### {size.title}, {size.name}: ms per {_UNITS[size.kind]}"
    return f"{title}\n\n{markdown(head, [_cells(row, rates) for row in rows])}"


def _cells(row: Row, rates: Rates) -> list[str]:
    read_ms, multiply_ms = row.work.floor_ms(rates)
    return [
        str(row.batch),
        str(row.held),
        spread(row.ours),
        f"{row.ours.median_ms / row.batch:.2f}",
        spread(row.upstream) if row.upstream else "-",
        f"{row.faster:.1f}x" if row.faster else "-",
        f"{read_ms:.2f}",
        f"{multiply_ms:.2f}",
        f"{row.ours.median_ms / max(read_ms, multiply_ms):.1f}x",
    ]


def spread(timings: Timings) -> str:
    """Median and, in brackets, p10 to p90."""
    low, high = timings.quantile_ms(0.1), timings.quantile_ms(0.9)
    return f"{timings.median_ms:.1f} ({low:.1f} - {high:.1f})"


def markdown(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """The first column to the left, numbers to the right, padded so that it reads well in a terminal."""
    widths = [max(len(line[column]) for line in [head, *body]) for column in range(len(head))]
    rule = [":" + "-" * (widths[0] - 1), *("-" * (width - 1) + ":" for width in widths[1:])]
    lines = [head, rule, *body]
    return "\n".join(_line(cells, widths) for cells in lines)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = zip(cells, widths, strict=True)
    padded = [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]
    return f"| {' | '.join(padded)} |"

"""Report of a client mix, as a table and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from statistics import median
from typing import Any

from benchmarks.chat.client_trace import Story

_COUNTERS = ("frames_filled", "frames_dropped", "frames_late", "reply_frames_dropped")


def table(stories: Sequence[Story]) -> str:
    """One line a client."""
    rows: list[tuple[str, ...]] = [
        ("client", "place", "waited", "said", "heard", "filled", "dropped", "late", "unsent", "turnaround")
    ]
    rows += [_row(story) for story in stories]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)


def summary(stories: Sequence[Story], faults: Sequence[str]) -> str:
    """A sentence."""
    served = [story for story in stories if story.ready_s is not None and not story.failure]
    queued = [story for story in served if story.first_place]
    line = f"{len(served)} of {len(stories)} served, {len(queued)} of them after waiting in line"
    return f"{line}; {len(faults)} faults" if faults else f"{line}; every frame accounted for"


def as_json(stories: Sequence[Story], faults: Sequence[str]) -> dict[str, Any]:
    """Everything."""
    return {"summary": summary(stories, faults), "faults": list(faults), "clients": [asdict(each) for each in stories]}


def _row(story: Story) -> tuple[str, ...]:
    waited = "never" if story.waited_s is None else f"{story.waited_s:.1f} s"
    counters = [str(story.counters[name]) if name in story.counters else "-" for name in _COUNTERS]
    turnaround = f"{median(story.turnarounds_ms):.0f} ms" if story.turnarounds_ms else "-"
    place = str(story.first_place or "-")
    return story.name, place, waited, str(story.said_frames), f"{story.heard_frames:g}", *counters, turnaround

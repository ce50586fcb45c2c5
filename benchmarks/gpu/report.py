"""Figures of a run: appended to a file as they come, so that a run that is cut off leaves what it measured."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Figure:
    """One measured value, or one check: 1 for passed, 0 for failed."""

    part: str
    name: str
    value: float
    unit: str
    wanted: str = ""  # the bound that is to be kept, for people

    @property
    def failed(self) -> bool:
        """Whether it is a check that was not passed."""
        return self.unit == "passed" and not self.value


@dataclass(frozen=True)
class Note:
    """How a part ended, or what it ran on."""

    part: str
    text: str


class Report:
    """A file with a JSON object per line."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, entry: Figure | Note) -> None:
        """Appends one line, and says it."""
        with self.path.open("a") as file:
            file.write(json.dumps(asdict(entry)) + "\n")
        print(line(entry), flush=True)

    def entries(self) -> list[Figure | Note]:
        """Everything so far."""
        if not self.path.exists():
            return []
        lines = [json.loads(text) for text in self.path.read_text().splitlines()]
        return [Note(**found) if "text" in found else Figure(**found) for found in lines]


def line(entry: Figure | Note) -> str:
    """One entry for people."""
    if isinstance(entry, Note):
        return f"{entry.part}: {entry.text}"
    value = ("passed" if entry.value else "FAILED") if entry.unit == "passed" else f"{entry.value:.4g} {entry.unit}"
    return f"{entry.part}: {entry.name}: {value}" + (f" (wanted: {entry.wanted})" if entry.wanted else "")


def table(entries: Sequence[Figure | Note]) -> str:
    """All entries as a table in Markdown."""
    rows = ["| part | figure | value | wanted |", "|---|---|---|---|"]
    for entry in entries:
        if isinstance(entry, Note):
            rows.append(f"| {entry.part} | {entry.text} | | |")
        else:
            value = line(entry).split(f"{entry.name}: ", 1)[1].split(" (wanted")[0]
            rows.append(f"| {entry.part} | {entry.name} | {value} | {entry.wanted} |")
    return "\n".join(rows)

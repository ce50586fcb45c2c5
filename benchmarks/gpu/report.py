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

    @property
    def failed(self) -> bool:
        """Whether it is a check that was not passed."""
        return self.unit == "passed" and not self.value

    def __str__(self) -> str:
        return ("passed" if self.value else "FAILED") if self.unit == "passed" else f"{self.value:.4g} {self.unit}"


@dataclass(frozen=True)
class Note:
    """How a part ended, what it ran on, or what it left out."""

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
    return f"{entry.part}: {entry.text}" if isinstance(entry, Note) else f"{entry.part}: {entry.name}: {entry}"


def table(entries: Sequence[Figure | Note]) -> str:
    """All entries as a table in Markdown."""
    rows = ["| part | figure | value |", "|---|---|---|"]
    for entry in entries:
        name, value = (entry.text, "") if isinstance(entry, Note) else (entry.name, str(entry))
        rows.append(f"| {entry.part} | {name} | {value} |")
    return "\n".join(rows)

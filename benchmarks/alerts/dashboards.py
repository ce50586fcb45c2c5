"""Queries of this repository's dashboards, as Grafana would ask them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path("deploy/monitoring/dashboards")


@dataclass(frozen=True)
class Query:
    """One expression of one panel."""

    dashboard: str
    panel: str
    expression: str

    @property
    def needs_gpu(self) -> bool:
        """Whether there is nothing to see on a CPU."""
        return "_gpu_" in self.expression


def queries(folder: Path = FOLDER) -> Iterator[Query]:
    """All of them, variables filled in with their defaults."""
    for path in sorted(folder.glob("*.json")):
        board = json.loads(path.read_text())
        texts = {each["name"]: each["query"] for each in board["templating"]["list"] if each["type"] == "textbox"}
        for panel in board["panels"]:
            for target in panel["targets"]:
                expression = target["expr"]
                for name, text in texts.items():
                    expression = expression.replace(f"${name}", text)
                yield Query(board["title"], panel["title"], expression)

"""Training curves: losses and evaluations over time, as a table and a picture."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

LOSSES = ("text", "semantic", "acoustic", "phones", "words", "alone_phones", "alone_words")
_COLUMNS = ("step", "minutes", "rate", "frames", *LOSSES)


class Curves:
    """`losses.csv`, a row for every few steps, and `evaluations.jsonl`; both go on where they stopped."""

    def __init__(self, folder: Path) -> None:
        self._losses, self._evaluations = folder / "losses.csv", folder / "evaluations.jsonl"

    def go_on(self, at_step: int) -> None:
        """Drops rows of later steps, of a run that was cut off. For one process only, before it adds a row."""
        kept = [row for row in _rows(self._losses) if int(row["step"]) <= at_step]
        with self._losses.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, _COLUMNS)
            writer.writeheader()
            writer.writerows(kept)

    def add(self, row: dict[str, Any]) -> None:
        """row: of all columns."""
        with self._losses.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, _COLUMNS).writerow(
                {name: f"{value:.5g}" if isinstance(value, float) else value for name, value in row.items()}
            )

    def add_evaluation(self, evaluation: dict[str, Any]) -> None:
        with self._evaluations.open("a", encoding="utf-8") as file:
            file.write(json.dumps(evaluation) + "\n")

    def draw(self, picture: Path) -> None:
        """Losses above, share of right answers below."""
        from matplotlib.figure import Figure  # only where it is drawn: a second to import

        rows = [{name: float(value) for name, value in row.items()} for row in _rows(self._losses)]
        figure = Figure(figsize=(8, 7), layout="constrained")
        losses, answers = figure.subplots(2, 1, sharex=True)
        minutes = [row["minutes"] for row in rows]
        for name in LOSSES:
            losses.plot(minutes, [row[name] for row in rows], label=name, linewidth=1)
        losses.set(yscale="log", ylabel="loss, nats")
        losses.legend()
        evaluations = [json.loads(line) for line in _lines(self._evaluations)]
        for kind in sorted({kind for evaluation in evaluations for kind in evaluation["answers"]}):
            points = [(e["minutes"], e["answers"][kind]) for e in evaluations if kind in e["answers"]]
            shares = [right / asked for _, (right, asked) in points]
            answers.plot([at for at, _ in points], shares, label=kind, linewidth=3 if kind == "all" else 1)
        answers.set(xlabel="minutes of training", ylabel="right answers", ylim=(0, 1))
        if answers.lines:
            answers.legend(fontsize="small", ncols=3)
        figure.savefig(picture, dpi=110)


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []

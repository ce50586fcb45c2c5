"""Loss curves of the codec's training: a table and a picture."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

Row = dict[str, float]

_PANELS = (("loss", "mel"), ("semantic", "phones"), ("phones_right",), ("judges", "deceit", "features"))


def write_table(rows: Sequence[Row], path: Path) -> None:
    """CSV, one line per report; a column that a row lacks stays empty."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, names)
        table.writeheader()
        table.writerows({name: f"{value:.6g}" for name, value in row.items()} for row in rows)


def draw(rows: Sequence[Row], path: Path) -> None:
    """The picture of the same rows over minutes of compute."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, len(_PANELS), figsize=(4 * len(_PANELS), 3), layout="constrained")
    for axis, names in zip(axes, _PANELS, strict=True):
        for name in names:
            points = [(row["minutes"], row[name]) for row in rows if name in row]
            if points:
                axis.plot(*zip(*points, strict=True), label=name)
        axis.set_xlabel("minutes of compute")
        if axis.lines:
            axis.legend()
    figure.savefig(path)
    plt.close(figure)

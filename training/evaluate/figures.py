"""The figures of a model card: in figures.json beside the weights, as a table in its README, and whether they hold."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from training.evaluate.report import Count, EvaluationReport

NAME = "figures.json"
_README = "README.md"
_BEGIN, _END = "<!-- figures: written by python -m training.evaluate.live --write -->\n", "<!-- end of figures -->"
# By how much a figure may be below the card's. There are few interruptions and silent callers: one is some points.
_TOLERANCES = {"right": 0.02, "understood": 0.03, "stopped": 0.1, "greeted": 0.03, "quiet": 0.15}
_TITLES = {
    "right": "answers exactly right",
    "understood": "right answers understood",
    "stopped": "interruptions: silent in time",
    "greeted": "calls that begin as they should",
    "quiet": "silent callers: nothing said",
}

Figures = Mapping[str, Count]
"""By name, as in _TOLERANCES."""
Card = Mapping[str, Figures]
"""By the way in which the calls were held: offline or cluster, and either with the recorded calls."""


def figures_of(report: EvaluationReport) -> dict[str, Count]:
    """What a card says of a report."""
    return {name: getattr(report, name) for name in _TOLERANCES}


def read_card(checkpoint: Path) -> Card:
    """Nothing when the checkpoint has none."""
    path = checkpoint / NAME
    if not path.is_file():
        return {}
    sections = json.loads(path.read_text(encoding="utf-8"))
    return {section: {name: Count(**count) for name, count in counts.items()} for section, counts in sections.items()}


def write_card(checkpoint: Path, section: str, figures: Figures) -> None:
    """Puts them into the card, in place of the section's older ones."""
    card = {**read_card(checkpoint), section: figures}
    sections = {name: {figure: asdict(count) for figure, count in counts.items()} for name, counts in card.items()}
    (checkpoint / NAME).write_text(json.dumps(sections, indent=1) + "\n", encoding="utf-8")
    readme = checkpoint / _README
    if readme.is_file():
        before, begin, rest = readme.read_text(encoding="utf-8").partition(_BEGIN)
        _old, end, after = rest.partition(_END)
        if begin and end:
            readme.write_text(f"{before}{begin}{_markdown(card)}{end}{after}", encoding="utf-8")


def lowest(name: str, card: Count, asked: int) -> float:
    """The smallest share that still agrees with the card.

    Other exchanges than the card's, or fewer of them, may be a little harder by chance: two standard deviations.
    """
    chance = 0.0
    if asked and asked != card.all:
        chance = 2 * math.sqrt(card.share * (1 - card.share) / asked)
    return card.share - _TOLERANCES[name] - chance


def expected(card: Card, section: str) -> Figures:
    """What the card promises of a section: the text is as right through a cluster as without one."""
    without_cluster = card.get(section.replace("cluster", "offline"), {})
    return {**card.get(section, {}), **{name: without_cluster[name] for name in without_cluster.keys() & {"right"}}}


def broken(measured: Figures, card: Figures) -> list[str]:
    """A sentence for each figure that does not hold."""
    if "right" not in card:
        return ["the card has none for such calls"]
    return [
        f"{_TITLES[name]}: {count}, the card says {100 * card[name].share:.1f} %"
        for name, count in measured.items()
        if name in card and count.all and count.share < lowest(name, card[name], count.all)
    ]


def comparison(measured: Figures, card: Card) -> str:
    """Measured figures beside all of the card's."""
    rows = [("", "measured", *card)]
    for name, count in measured.items():
        rows.append((_TITLES[name], str(count), *(str(figures.get(name, "")) for figures in card.values())))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _markdown(card: Card) -> str:
    rows = [["", *card], ["---"] * (1 + len(card))]
    rows += [[title, *(str(figures.get(name, "")) for figures in card.values())] for name, title in _TITLES.items()]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)

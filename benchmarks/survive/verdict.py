"""Verdict on outcomes: a row for each, and what of it did not hold."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict

from benchmarks.columns import columns
from benchmarks.survive.heard import Difference
from benchmarks.survive.outcome import Group, Outcome
from benchmarks.survive.run import Run
from benchmarks.survive.steps import HANDED_OVER_GAP_S, Step

LATE_RATIO_MARGIN = 0.05
"""By so much the bystanders' share of late replies may be above that of the calm before."""

_BUSY_CORES = 0.2

_HEAD = [
    *("", "on it", "moved", "resumed", "lost", "refused", "gap p50", "max ms", "others' max", "filled", "dropped"),
    *(
        "late",
        "others late",
        "calm",
        "text differs",
        "of frames",
        "sound differs",
        "behind the context",
        "inexact",
        "whole s",
        "others' cores",
    ),
]


def table(outcomes: Sequence[Outcome]) -> str:
    """A row for each step; gaps in ms, of those whose call was moved, resumed or lost, then the others' longest."""
    return columns([_HEAD, *map(_row, outcomes)])


def memory_table(runs: Sequence[Run]) -> str:
    """Resident memory of each process at the end of each scenario."""
    rows = [[name, *(f"{run.resident_bytes[name] / 2**20:.0f}" for run in runs)] for name in runs[0].resident_bytes]
    return columns([["MB at the end of", *(run.scenario for run in runs)], *rows])


def line(one: Outcome) -> str:
    """The most important of it, while a run goes on."""
    what = f"{one.moves} moved, {one.resumed} resumed, {one.lost} lost, {one.refused} refused, {one.inexact} inexact"
    return (
        f"{one.name}: {what}, silence at most {_ms(one.moved.gap_max_s)} ms, others' {_ms(one.bystanders.gap_max_s)} ms"
    )


def figures(outcome: Outcome) -> dict[str, object]:
    """All of it, as JSON has it."""
    return asdict(outcome)


def broken(outcome: Outcome) -> Iterator[str]:
    """A sentence for each promise that was not kept."""
    yield from (f"{outcome.name}: {sentence}" for sentence in _broken(outcome))


def caution(outcomes: Sequence[Outcome]) -> str:
    """Why the times may not be the cluster's own, or nothing."""
    most = max((one.others_cores for one in outcomes), default=0.0)
    return f"CAUTION: other programs used up to {most:.2f} cores meanwhile" if most > _BUSY_CORES else ""


def leaked(name: str, slots: int) -> Iterator[str]:
    """A sentence if a slot was not given back."""
    if slots:
        yield f"{name}: {slots} slots are in use although no call is up"


def _broken(outcome: Outcome) -> Iterator[str]:
    for count, what in (
        (outcome.lost, "calls were lost"),
        (outcome.refused, "new calls were refused"),
        (outcome.inexact, "calls ended with frames unaccounted for"),
    ):
        if count:
            yield f"{count} {what}"
    if outcome.step is not None:
        yield from _broken_by(outcome, outcome.step)


def _broken_by(outcome: Outcome, step: Step) -> Iterator[str]:
    if outcome.on_it and not outcome.moves and step.service != "gateway":
        yield "no call was told that it moved"
    if outcome.resumed and step.service != "gateway":
        yield f"{outcome.resumed} calls were taken up again instead of being moved"
    for whose, group, limit_s in (
        ("a", outcome.moved, step.gap_limit_s),
        ("a bystander's", outcome.bystanders, HANDED_OVER_GAP_S),
    ):
        if group.gap_max_s > limit_s:
            yield f"{whose} silence of {_ms(group.gap_max_s)} ms > {_ms(limit_s)} ms"
    late, calm = outcome.bystanders.late_ratio, outcome.calm.late_ratio
    if late > calm + LATE_RATIO_MARGIN:
        yield f"{late:.1%} of the bystanders' replies were late, before {calm:.1%}"
    if step.service == "lm":
        yield from _differing(outcome)


def _differing(outcome: Outcome) -> Iterator[str]:
    """An lm that goes on from the history says what the first one would have said, to the last token."""
    for kind, found in (("greedy", outcome.greedy), ("sampled", outcome.sampled)):
        if found.texts or found.sounds:
            yield f"{kind}: the text of {found.texts} and the sound of {found.sounds} of {found.frames} frames differ"


def _row(outcome: Outcome) -> list[str]:
    moved, others, compared = outcome.moved, outcome.bystanders, outcome.greedy + outcome.sampled
    return [
        outcome.name,
        *map(str, (outcome.on_it, outcome.moves, outcome.resumed, outcome.lost, outcome.refused)),
        *map(_ms, (moved.gap_p50_s, moved.gap_max_s, others.gap_max_s)),
        *map(str, (moved.filled, moved.dropped, moved.late, _late(others), _late(outcome.calm))),
        f"{outcome.greedy.texts} / {outcome.sampled.texts}",
        str(compared.frames),
        f"{compared.sounds / compared.frames:.2%}" if compared.frames else "-",
        _counts(outcome.behind),
        str(outcome.inexact),
        f"{outcome.whole_after_s:.1f}",
        f"{outcome.others_cores:.2f}",
    ]


def _late(group: Group) -> str:
    return f"{group.late} ({group.late_ratio:.1%})" if group.replies else "-"


def _counts(found: Difference) -> str:
    return f"{found.texts} / {found.sounds} of {found.frames}" if found.frames else "-"


def _ms(seconds: float) -> str:
    return "-" if math.isnan(seconds) else f"{seconds * 1000:.0f}"

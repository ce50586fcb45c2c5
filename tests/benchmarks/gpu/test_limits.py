"""Every bound that was promised of a card gets a verdict, or the reason why there is none."""

from __future__ import annotations

import pytest

from benchmarks.gpu.limits import Limit, limits, verdicts
from benchmarks.gpu.parts import PARTS
from benchmarks.gpu.report import Figure, Note
from benchmarks.gpu.scale import BATCHES

H200_BYTES, H100_BYTES = 150.7e9, 85.5e9


@pytest.mark.parametrize(
    ("limit", "value", "verdict"),
    [
        (Limit("step", "p50", 40, "ms"), 40.0, "met"),
        (Limit("step", "p50", 40, "ms"), 50.0, "missed by 25%"),
        (Limit("upstream", "times faster", 2.4, "x", at_least=True), 2.5, "met"),
        (Limit("upstream", "times faster", 2.4, "x", at_least=True), 1.2, "missed by 50%"),
        (Limit("equalities", "alone = in a batch", 1, "passed", at_least=True), 0.0, "missed"),
    ],
)
def test_a_bound_is_met_or_missed_by_so_much(limit: Limit, value: float, verdict: str) -> None:
    assert limit.verdict(value) == verdict
    assert f"| {limit.part} | {limit.name} | {limit} | " in verdicts(
        [limit], [Figure(limit.part, limit.name, value, "")]
    )


def test_what_was_not_measured_says_why() -> None:
    limit = Limit("upstream", "times faster", 2.4, "x", at_least=True)
    cut = [
        Figure("upstream", "something else", 1.0, "x"),
        Note("upstream", "cut off after 85 s"),
        Note("codec", "well"),
    ]
    assert verdicts([limit], cut).endswith("| upstream | times faster | >= 2.4 x |  | not run: cut off after 85 s |")
    assert verdicts([limit], []).endswith("not run: the part was not asked for |")


def test_the_promises_are_these() -> None:
    promised = {(limit.part, limit.name): str(limit) for limit in limits(BATCHES, H200_BYTES)}
    assert {part for part, _ in promised} <= {part.name for part in PARTS}
    figures = {name: bound for (part, name), bound in promised.items() if part != "equalities"}
    assert figures == {
        "int8, 128 rows, 100% of the window": ">= 75 % of a copy",
        "bfloat16, 128 rows, 100% of the window": ">= 85 % of a copy",
        "int8, 64 sessions, 100% of the window: p50 / floor": "<= 1.5 x",
        "int8, 128 sessions, 100% of the window: p50": "<= 40 ms",
        "1 sessions, 100% of the window: times faster": ">= 2.4 x",
        "16 sessions, 100% of the window: times faster": ">= 1.9 x",
        "64 sessions, 100% of the window: times faster": ">= 2.2 x",
        "64 sessions, 25% of the window: times faster": ">= 4 x",
        "calls at once": ">= 128 calls",
        "random phases: turnaround p99": "<= 60 ms",
        "the others' p99 grows by": "<= 5 ms",
    }
    assert sum(part == "equalities" for part, _ in promised) == 2 * 5


def test_a_smaller_card_carries_half_the_calls() -> None:
    (calls,) = [limit for limit in limits(BATCHES, H100_BYTES) if limit.name == "calls at once"]
    assert calls.bound == 64

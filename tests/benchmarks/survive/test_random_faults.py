"""Random faults: what is kept of hours of them."""

from __future__ import annotations

from benchmarks.online.processes import ProcessWatch
from benchmarks.survive.outcome import Group, Outcome
from benchmarks.survive.random_faults import RandomRun, memory_over_time
from benchmarks.survive.steps import Step


def test_faults_of_a_kind_are_one_row() -> None:
    steps = [Step("kill", "lm-0"), Step("freeze", "lm-1"), Step("kill", "lm-1")]
    outcomes = [Outcome("", step, Group(), moves=1, moved=Group((index / 10,))) for index, step in enumerate(steps)]
    rows = RandomRun(outcomes).by_kind()
    assert [(row.name, row.moves, row.moved.gap_max_s) for row in rows] == [
        ("1 x freeze lm", 1, 0.1),
        ("2 x kill -9 lm", 2, 0.2),
    ]


def test_memory_is_shown_part_by_part() -> None:
    sizes = [(1 + index) * 2**20 for index in range(80)]
    watch = ProcessWatch({}, [60.0 * index for index in range(80)], {"lm-0": sizes})
    head, row = (line.split() for line in memory_over_time(watch).splitlines())
    assert head[-8:] == ["9", "19", "29", "39", "49", "59", "69", "79"]
    assert row == ["lm-0", "10", "20", "30", "40", "50", "60", "70", "80"]

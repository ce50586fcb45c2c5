"""Statistics of interleaved rounds."""

from collections.abc import Iterator

import pytest

from benchmarks.offline.measure import Timings, interleaved, times_faster


class Scripted:
    """Notes its turns."""

    def __init__(self, name: str, turns: list[str]) -> None:
        self._name, self._turns = name, turns
        self._ms: Iterator[int] = iter(range(100))

    def run(self, steps: int) -> list[float]:
        self._turns.append(self._name)
        return [float(next(self._ms)) for _ in range(steps)]

    def close(self) -> None:
        pass


def test_contenders_take_turns() -> None:
    turns: list[str] = []
    a, b = interleaved([Scripted("a", turns), Scripted("b", turns)], rounds=3, steps=2)
    assert turns == ["a", "b"] * 3
    assert a.rounds == b.rounds == [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]


def test_quantiles_interpolate_over_all_rounds() -> None:
    timings = Timings([[4.0, 2.0], [1.0, 3.0, 5.0]])
    assert timings.median_ms == 3.0
    assert timings.quantile_ms(0.0) == 1.0
    assert timings.quantile_ms(1.0) == 5.0
    assert timings.quantile_ms(0.1) == pytest.approx(1.4)


def test_ratio_pairs_the_rounds_so_that_a_slow_minute_does_not_count() -> None:
    ours = Timings([[10.0], [40.0], [10.0]])
    theirs = Timings([[20.0], [80.0], [20.0]])
    assert times_faster(ours, theirs) == 2.0

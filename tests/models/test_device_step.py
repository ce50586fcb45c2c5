"""Rows in, results out, in the smallest bucket that holds them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from moshi_cluster.models.device_step import DeviceStep

NOBODY = [9, -1]


class Doubling:
    """Doubles the second column and notes what it was given."""

    def __init__(self) -> None:
        self.batches: list[list[list[int]]] = []
        self.step = DeviceStep(self.run, NOBODY, 1, [2, 4], "cpu")

    def run(self, rows: Tensor) -> Tensor:
        self.batches.append(rows.tolist())
        return 2 * rows[:, 1:]


@pytest.mark.parametrize(("rows", "bucket"), [(1, 2), (2, 2), (3, 4), (4, 4)])
def test_rows_are_filled_up_with_nobodys(rows: int, bucket: int) -> None:
    doubling = Doubling()
    given = torch.arange(2 * rows).view(rows, 2)
    doubling.step.launch(given)
    assert doubling.step.finish().tolist() == (2 * given[:, 1:]).tolist()
    assert doubling.batches == [given.tolist() + [NOBODY] * (bucket - rows)]


def test_warming_runs_every_bucket_with_nobodys_rows_the_largest_first() -> None:
    doubling = Doubling()
    doubling.step.launch(torch.ones(4, 2))
    doubling.step.finish()
    doubling.step.warm()
    assert doubling.batches[1:] == [[NOBODY] * 4, [NOBODY] * 2]


def test_results_stay_when_the_next_step_runs() -> None:
    step = Doubling().step
    step.launch(torch.tensor([[0, 1]]))
    first = step.finish()
    step.launch(torch.tensor([[0, 5]]))
    assert (first.item(), step.finish().item()) == (2, 10)


@pytest.mark.parametrize("rows", [0, 5])
def test_none_and_too_many_rows_are_refused(rows: int) -> None:
    with pytest.raises(ValueError, match="rows: expected 1 to 4"):
        Doubling().step.launch(torch.zeros(rows, 2))


def test_one_step_is_in_flight_at_a_time() -> None:
    step = Doubling().step
    with pytest.raises(RuntimeError, match="no step"):
        step.finish()
    step.launch(torch.zeros(1, 2))
    with pytest.raises(RuntimeError, match="in flight"):
        step.launch(torch.zeros(1, 2))

"""Quantised weights are as near as their steps allow."""

from __future__ import annotations

import pytest
import torch

from moshi_cluster.models.layers.quantised.quantise import per_group, per_row


def weights(rows: int, columns: int) -> torch.Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(3))


def test_a_row_is_within_half_a_step_and_its_largest_value_is_exact() -> None:
    weight = weights(16, 64)
    decoded = per_row(weight).dense()
    largest = weight.abs().amax(dim=1, keepdim=True)
    assert ((decoded - weight).abs() <= largest / 127 * 0.501).all()
    place = weight.abs().argmax(dim=1)
    assert torch.allclose(decoded[range(16), place], weight[range(16), place], rtol=1e-6)


@pytest.mark.parametrize(("bits", "group"), [(8, 64), (8, 32), (4, 32), (4, 64)])
def test_a_group_is_within_half_a_step(bits: int, group: int) -> None:
    weight = weights(16, 128)
    matrix = per_group(weight, bits, group)
    assert (matrix.bits, matrix.group, matrix.shape) == (bits, group, (16, 128))
    groups = weight.unflatten(1, (-1, group))
    step = (groups.amax(-1) - groups.amin(-1)) / (2**bits - 1)
    error = (matrix.dense() - weight).unflatten(1, (-1, group)).abs().amax(-1)
    # Half a step, an edge that zero moves by half a step more, and scales rounded to bfloat16.
    assert (error <= 1.02 * step + 0.01 * groups.abs().amax(-1)).all()


def test_zeros_and_constants_stay_what_they_are() -> None:
    weight = torch.stack((torch.zeros(64), torch.full((64,), 0.5), torch.full((64,), -0.25)))
    for matrix in (per_row(weight), per_group(weight, 8, 64), per_group(weight, 4, 32)):
        assert torch.allclose(matrix.dense(), weight, atol=1e-6)


def test_columns_that_make_no_whole_groups_are_refused() -> None:
    with pytest.raises(ValueError, match="96 columns do not divide into groups of 64"):
        per_group(weights(4, 96), 8, 64)

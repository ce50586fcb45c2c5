"""A quantised matrix is its definition, however it is packed."""

from __future__ import annotations

import pytest
import torch

from moshi_cluster.models.layers.quantised import QuantisedMatrix
from moshi_cluster.models.layers.quantised.matrix import stacked


def test_a_value_is_scale_times_code_plus_bias() -> None:
    matrix = QuantisedMatrix(
        codes=torch.tensor([[0, 255, 3, 4]], dtype=torch.uint8),
        scales=torch.tensor([[2.0, -0.5]]),
        biases=torch.tensor([[1.0, 10.0]]),
    )
    assert matrix.dense().tolist() == [[1.0, 511.0, 8.5, 8.0]]
    assert (matrix.shape, matrix.group, matrix.kind) == ((1, 4), 2, "8 bits in groups of 2")


def test_without_biases_values_are_around_zero() -> None:
    matrix = QuantisedMatrix(torch.tensor([[-128, 127], [1, -1]], dtype=torch.int8), torch.tensor([[0.5], [4.0]]))
    assert matrix.dense().tolist() == [[-64.0, 63.5], [4.0, -4.0]]
    assert matrix.kind == "8 bits per row"


def test_of_4_bits_the_even_column_is_in_the_low_half_of_a_byte() -> None:
    matrix = QuantisedMatrix(torch.tensor([[0xF1, 0x82]], dtype=torch.uint8), torch.ones(1, 1), None, bits=4)
    assert matrix.shape == (1, 4)
    assert matrix.dense().tolist() == [[1.0, 15.0, 2.0, 8.0]]


def test_rows_can_be_taken_and_put_together() -> None:
    codes = torch.arange(24, dtype=torch.uint8).view(6, 4)
    matrix = QuantisedMatrix(codes, torch.rand(6, 2), torch.rand(6, 2), bits=4)
    ids = torch.tensor([[5, 0], [2, 2]])
    assert torch.equal(matrix[ids].dense(), matrix.dense()[ids.flatten()])
    assert torch.equal(stacked([matrix[:2], matrix[2:]]).dense(), matrix.dense())
    assert matrix[:2].nbytes == 2 * (4 + 2 * 4 + 2 * 4)


@pytest.mark.parametrize(
    ("parts", "complaint"),
    [
        ({"codes": torch.zeros(2, 4)}, "codes of 4 or 8 bits"),
        ({"bits": 3}, "codes of 4 or 8 bits"),
        ({"scales": torch.ones(3, 2)}, "scales: expected floats \\[2, groups\\]"),
        ({"scales": torch.ones(2, 3)}, "3 groups do not divide 4 columns"),
        ({"scales": torch.ones(2, 0)}, "0 groups do not divide"),
        ({"scales": torch.ones(2, 2, dtype=torch.int32)}, "scales: expected floats"),
        ({"biases": torch.ones(2, 1)}, "biases: expected \\[2, 2\\]"),
    ],
)
def test_parts_that_do_not_belong_together_are_named(parts: dict[str, object], complaint: str) -> None:
    good = {"codes": torch.zeros(2, 4, dtype=torch.int8), "scales": torch.ones(2, 2), "biases": None, "bits": 8}
    with pytest.raises(ValueError, match=complaint):
        QuantisedMatrix(**(good | parts))  # type: ignore[arg-type]

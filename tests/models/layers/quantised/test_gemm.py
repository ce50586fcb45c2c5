"""Every kernel multiplies with the matrix it was given, and a row's result depends on nothing but the row."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from moshi_cluster.models.layers.quantised import QuantisedLinear, QuantisedMatrix
from moshi_cluster.models.layers.quantised.gemm import DequantisingGemm, UpcastGemm
from moshi_cluster.models.layers.quantised.quantise import per_group, per_row

FLOAT32_ERROR, BFLOAT16_ERROR = 3e-6, 0.01  # of the largest value
ROWS = 33


def symmetric(weight: Tensor) -> QuantisedMatrix:
    """As GGUF has it: int8 codes and a scale for 32 columns."""
    groups = per_row(weight.reshape(-1, 32))
    return QuantisedMatrix(groups.codes.view(weight.shape), groups.scales.view(len(weight), -1).half())


KINDS: dict[str, Callable[[Tensor], QuantisedMatrix]] = {
    "row": per_row,
    "8 bits, 64": lambda weight: per_group(weight, 8, 64),
    "8 bits, 32": lambda weight: per_group(weight, 8, 32),
    "4 bits, 32": lambda weight: per_group(weight, 4, 32),
    "4 bits, 64": lambda weight: per_group(weight, 4, 64),
    "symmetric, 32": symmetric,
}
# Small; wide enough for integer slices in bfloat16; rows and columns that no kernel takes.
SHAPES = {"small": (96, 64), "wide": (4128, 256), "odd rows": (65, 128)}


def made(kind: str, shape: str, dtype: torch.dtype) -> tuple[QuantisedMatrix, Tensor]:
    generator = torch.Generator().manual_seed(5)
    rows, columns = SHAPES[shape]
    matrix = KINDS[kind](torch.randn(rows, columns, generator=generator) * columns**-0.5)
    spread = torch.randn(ROWS, 1, generator=generator).exp()  # rows of different size
    return matrix, (torch.randn(ROWS, columns, generator=generator) * spread).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", KINDS)
def test_products_are_those_of_the_decoded_matrix(kind: str, shape: str, dtype: torch.dtype) -> None:
    matrix, x = made(kind, shape, dtype)
    expected = x.double() @ matrix.dense(torch.float64).T
    error = FLOAT32_ERROR if dtype == torch.float32 else BFLOAT16_ERROR
    linear = QuantisedLinear(matrix, dtype)
    assert (linear.in_features, linear.out_features) == matrix.shape[::-1]
    found = linear(x)
    assert found.dtype == dtype
    # Row by row: a row of small values is as exact as one of large ones.
    assert ((found - expected).abs().amax(1) <= error * expected.abs().amax(1)).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("kind", ["row", "8 bits, 64", "4 bits, 32", "symmetric, 32"])
@settings(max_examples=8)
@given(data=st.data())
def test_not_a_bit_of_a_row_depends_on_the_rows_beside_it(kind: str, dtype: torch.dtype, data: st.DataObject) -> None:
    shape = data.draw(st.sampled_from(["small", "wide"] if kind == "row" else ["small"]))
    matrix, x = made(kind, shape, dtype)
    linear = QuantisedLinear(matrix, dtype)
    alone = torch.cat([linear(row[None]) for row in x])
    chosen = data.draw(st.lists(st.integers(0, ROWS - 1), min_size=1, max_size=20))
    assert torch.equal(linear(x[chosen]), alone[chosen])


def test_a_residual_and_gelu_are_what_they_say() -> None:
    matrix, x = made("row", "small", torch.float32)
    linear, residual = QuantisedLinear(matrix, torch.float32), torch.randn(ROWS, 96)
    assert torch.equal(linear.add(x, residual), residual + linear(x))
    assert torch.equal(linear.gelu(x), torch.nn.functional.gelu(linear(x)))


def test_nan_and_infinity_stay_in_their_row() -> None:
    matrix, x = made("8 bits, 64", "small", torch.float32)
    linear = QuantisedLinear(matrix, torch.float32)
    clean = linear(x)
    x[3, 5], x[7, 0] = float("nan"), float("inf")
    found = linear(x)
    assert not found[3].isfinite().any() and not found[7].isfinite().any()
    others = [row for row in range(ROWS) if row not in (3, 7)]
    assert torch.equal(found[others], clean[others])


def test_where_there_is_no_kernel_the_matrix_is_made_for_each_product() -> None:
    matrix, x = made("4 bits, 32", "odd rows", torch.float32)
    assert torch.allclose(DequantisingGemm(matrix)(x), x @ matrix.dense().T, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_on_a_device_codes_with_a_scale_per_row_are_multiplied_as_floats(dtype: torch.dtype) -> None:
    matrix, x = made("row", "small", dtype)
    expected = x.float() @ matrix.dense().T
    found = UpcastGemm(matrix)(x)
    assert found.dtype == dtype
    assert (found.float() - expected).abs().max() <= (1e-5 if dtype == torch.float32 else 0.01) * expected.abs().max()


def test_codes_at_both_ends_do_not_overflow() -> None:
    codes = torch.tensor([[-128] * 256, [127] * 256] * 8, dtype=torch.int8)
    linear = QuantisedLinear(QuantisedMatrix(codes, torch.ones(16, 1)), torch.float32)
    x = torch.full((2, 256), 3.0)
    assert torch.allclose(linear(x)[0, :2], torch.tensor([-128.0, 127.0]) * 256 * 3, rtol=1e-6)

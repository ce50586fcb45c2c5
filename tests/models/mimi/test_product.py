"""Products of sessions: what they compute, and that a session's rows are bit for bit those it gets alone."""

from __future__ import annotations

from collections.abc import Iterator

import hypothesis
import hypothesis.strategies as st
import pytest
import torch
from torch import Tensor

from moshi_cluster.models.mimi.product import OnePerSession, _OneForAll, product

ROWS = (1, 2, 3, 16, 33)
# Steps, inputs and outputs that the small codecs have: long stages, short ones, transformer, quantiser.
SHAPES = [(480, 10, 16), (240, 40, 16), (60, 160, 32), (16, 96, 16), (2, 64, 192), (1, 16, 256)]


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    """Shared work is where kernels start to sum in another order."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def normal(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


@torch.inference_mode()
def assert_alike(steps: int, inputs: int, outputs: int) -> None:
    x, residual = normal(max(ROWS), steps, inputs), normal(max(ROWS), steps, outputs)
    for bias in (None, normal(outputs)):
        multiply = product(normal(outputs, inputs), bias, steps)
        alone = [multiply(row) for row in x.split(1)]
        added = [multiply.add(row, other) for row, other in zip(x.split(1), residual.split(1), strict=True)]
        for rows in ROWS:
            assert torch.equal(multiply(x[-rows:].clone()), torch.cat(alone[-rows:]))
            assert torch.equal(multiply.add(x[-rows:].clone(), residual[-rows:].clone()), torch.cat(added[-rows:]))


@pytest.mark.parametrize("shape", SHAPES)
def test_a_session_gets_what_it_gets_alone(threads: int, shape: tuple[int, int, int]) -> None:
    assert_alike(*shape)


@hypothesis.settings(max_examples=30)
@hypothesis.given(
    steps=st.sampled_from([1, 2, 3, 6, 16, 30, 96, 240]), inputs=st.integers(1, 200), outputs=st.integers(1, 96)
)
def test_odd_sizes_are_alike_too(steps: int, inputs: int, outputs: int) -> None:
    assert_alike(steps, inputs, outputs)


@pytest.mark.parametrize("kind", [OnePerSession, _OneForAll])
@pytest.mark.parametrize("biased", [True, False])
@torch.inference_mode()
def test_both_kinds_compute_the_same(kind: type[OnePerSession | _OneForAll], biased: bool) -> None:
    weight, bias, x, residual = normal(32, 24), normal(32), normal(3, 5, 24), normal(3, 5, 32)
    multiply = kind(weight, bias if biased else None)
    expected = torch.nn.functional.linear(x, weight, bias if biased else None)
    torch.testing.assert_close(multiply(x), expected)
    torch.testing.assert_close(multiply.gelu(x), torch.nn.functional.gelu(expected))
    torch.testing.assert_close(multiply.add(x, residual), expected + residual)


@pytest.mark.parametrize(
    ("shape", "steps", "kind"),
    [
        ((16, 40), 240, OnePerSession),
        ((128, 129), 16, _OneForAll),  # large
        ((32, 192), 1920, _OneForAll),  # many steps
        ((16, 40), 1, _OneForAll),  # sessions begin at several places of a line of the cache
        ((1, 64), 480, _OneForAll),  # a product of vectors
    ],
)
def test_little_products_are_one_per_session(
    shape: tuple[int, int], steps: int, kind: type[OnePerSession | _OneForAll]
) -> None:
    assert isinstance(product(normal(*shape), None, steps), kind)


def test_several_threads_share_one_product(threads: int) -> None:
    kind = OnePerSession if threads == 1 else _OneForAll
    assert isinstance(product(normal(16, 40), None, 240), kind)

"""Norm, gate and the Depth Transformer's attention by their formulas in float64."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from moshi_cluster.models.layers.norm import RmsNorm
from tests.models.kernels.conftest import DEVICE, HAS_CUDA, Kernel

Get = Callable[[str, str], Kernel]
BOUNDS = {torch.float32: 3e-6, torch.bfloat16: 3e-2}
dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0)).to(DEVICE)


@dtypes
@pytest.mark.parametrize("width", [16, 20, *([1024, 4096] if HAS_CUDA else [])])
def test_rms_norm(kernel: Get, dtype: torch.dtype, width: int) -> None:
    x, alpha = normal(3, width).to(dtype), normal(width)
    y = kernel("elementwise", "rms_norm")(x, alpha, 1e-5)
    exact = x.double() * alpha / (x.double().square().mean(dim=1, keepdim=True) + 1e-5).sqrt()
    bound = BOUNDS[dtype] * exact.abs().clamp(min=1)  # wide rows have large numbers, which round further
    assert y.dtype == dtype and ((y - exact).abs() < bound).all()
    plain = RmsNorm(alpha.cpu(), 1e-5)(x.cpu())
    assert ((y.cpu() - plain).abs() < bound.cpu()).all()


@dtypes
@pytest.mark.parametrize("width", [16, 22, *([2816, 11264] if HAS_CUDA else [])])
def test_silu_gate(kernel: Get, dtype: torch.dtype, width: int) -> None:
    ab = 3 * normal(3, 2 * width).to(dtype)
    a, b = ab.double().chunk(2, dim=1)
    assert (kernel("elementwise", "silu_gate")(ab) - a * torch.sigmoid(a) * b).abs().max() < 10 * BOUNDS[dtype]


@dtypes
def test_a_depth_step_attends_to_those_before_it(kernel: Get, dtype: torch.dtype) -> None:
    rows, steps, heads, head_dim = 3, 3, 2, 8
    buffer = torch.full((rows, 3, steps, heads, head_dim), float("nan"), device=DEVICE)
    every = normal(steps, rows, 3, heads, head_dim).to(dtype)
    for step in range(steps):
        out = kernel("depth_attention", "depth_attention")(every[step], buffer, step)
        q, k, v = every[step, :, 0].double(), every[: step + 1, :, 1].double(), every[: step + 1, :, 2].double()
        weights = (torch.einsum("nhd,snhd->snh", q, k) / head_dim**0.5).softmax(dim=0)
        exact = torch.einsum("snh,snhd->nhd", weights, v).flatten(1)
        assert out.dtype == dtype and (out - exact).abs().max() < BOUNDS[dtype]

"""Both implementations of every kernel: torch's, and Triton's, in its interpreter where there is no CUDA."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from typing import Any

import pytest
import torch

HAS_CUDA = torch.cuda.is_available()
DEVICE = "cuda" if HAS_CUDA else "cpu"
Kernel = Callable[..., Any]


@pytest.fixture(params=["torch", pytest.param("triton", marks=[pytest.mark.gpu] if HAS_CUDA else [])])
def kernel(request: pytest.FixtureRequest) -> Callable[[str, str], Kernel]:
    """(module, name) -> the function."""
    if request.param == "torch":
        return lambda module, name: _function(module, f"{name}_reference")
    if not importlib.util.find_spec("triton"):
        pytest.skip("no triton here: pip install triton")
    return lambda module, name: _function(f"compiled.{module}", name)


def _function(module: str, name: str) -> Kernel:
    found: Kernel = getattr(importlib.import_module(f"moshi_cluster.models.kernels.{module}"), name)
    return found

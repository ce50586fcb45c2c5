"""Name-giving containers: parameters get the names that the published files have."""

from __future__ import annotations

from typing import Generic, TypeVar

from torch import Tensor, nn

Inner = TypeVar("Inner", bound=nn.Module)


class NamedWeights(nn.Module):
    """A weight and, perhaps, a bias."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.bias = None if bias is None else nn.Parameter(bias)


class NamedConv(nn.Module, Generic[Inner]):
    """`inner` under the name conv."""

    def __init__(self, inner: Inner) -> None:
        super().__init__()
        self.conv = inner


class NamedConvtr(nn.Module, Generic[Inner]):
    """`inner` under the name convtr."""

    def __init__(self, inner: Inner) -> None:
        super().__init__()
        self.convtr = inner


class NamedLayers(nn.Module):
    """A list under the name layers."""

    def __init__(self, layers: list[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

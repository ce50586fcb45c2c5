"""Mimi's tensors by their published names, whatever spelling the file has (docs/model.md 1.8)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

# Spellings of newer modules and of older exports -> the published one.
_RESPELL = {
    ".in_projs.0.weight": ".in_proj_weight",
    ".out_projs.0.weight": ".out_proj.weight",
    "._codebook.inited": "._codebook._initialized",
    "._codebook.cluster_size": "._codebook.cluster_usage",
    "._codebook.embed_avg": "._codebook.embedding_sum",
    "._codebook.embed_sum": "._codebook.embedding_sum",
}
_MIN_USAGE = 1e-5


class MimiWeights:
    """Looks tensors up by published name, checks their shape and gives them in float32."""

    def __init__(self, tensors: Mapping[str, Tensor], device: torch.device | str) -> None:
        """tensors: by any accepted name; device: where the weights will be used."""
        self._tensors = tensors
        self._stored_names = {_published_name(name): name for name in tensors}
        self._device = device

    def get(self, name: str, *shape: int) -> Tensor:
        """The tensor `name`, float32. Raises ValueError naming it when it is missing or of another shape."""
        if name not in self._stored_names and f"{name}_v" in self._stored_names:
            tensor = self._folded(name)
        else:
            tensor = self._stored(name)
        if tuple(tensor.shape) != shape:
            raise ValueError(f"{name} has shape {list(tensor.shape)}, expected {list(shape)}")
        return tensor

    def centroids(self, codebook: str, bins: int, width: int) -> Tensor:
        """[bins, width]: the sum of a bin's vectors over the number of them, as the file stores both."""
        usage = self.get(f"{codebook}.cluster_usage", bins)
        return self.get(f"{codebook}.embedding_sum", bins, width) / usage.clamp(min=_MIN_USAGE)[:, None]

    def _stored(self, name: str) -> Tensor:
        if name not in self._stored_names:
            raise ValueError(f"no tensor {name}")
        return self._tensors[self._stored_names[name]].to(self._device, torch.float32)

    def _folded(self, name: str) -> Tensor:
        """Weight normalisation undone: v * g / ||v||, the norm over all but the first axis."""
        direction, length = self._stored(f"{name}_v"), self._stored(f"{name}_g")
        norm = torch.linalg.vector_norm(direction, dim=tuple(range(1, direction.dim())), keepdim=True)
        folded: Tensor = direction * (length.reshape(norm.shape) / norm)
        return folded


def _published_name(name: str) -> str:
    for spelling, published in _RESPELL.items():
        if name.endswith(spelling):
            return name.removesuffix(spelling) + published
    return name

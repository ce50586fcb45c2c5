"""Split residual vector quantiser: a semantic codebook beside a chain of acoustic ones (docs/model.md 1.5).

Both start from the same latent. A code is the index of the nearest centroid; the acoustic chain subtracts the
centroid and goes on with the rest.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from moshi_cluster.models.mimi.config import MimiConfig
from moshi_cluster.models.mimi.product import product
from moshi_cluster.models.mimi.weights import MimiWeights


class Codebook:
    """The centroids [bins, width] of one level."""

    def __init__(self, centroids: Tensor) -> None:
        self.centroids = centroids
        # |x - c|^2 / 2 = |x|^2 / 2 - (x . c - |c|^2 / 2): the nearest centroid has the largest bracket.
        self._closeness = product(centroids, -centroids.square().sum(dim=1) / 2, 1)

    def nearest(self, x: Tensor) -> Tensor:
        """x: [N, 1, width] -> int64 [N, 1]."""
        return self._closeness(x).argmax(dim=2)


class Quantizer:
    """Latents to codes and back, with the first `codebooks` levels."""

    def __init__(self, weights: MimiWeights, config: MimiConfig, codebooks: int) -> None:
        width, inner = config.latent_width, config.codebook_width
        rvqs = ["quantizer.rvq_first", "quantizer.rvq_rest"]
        ins = [weights.get(f"{rvq}.input_proj.weight", inner, width, 1).squeeze(2) for rvq in rvqs]
        outs = [weights.get(f"{rvq}.output_proj.weight", width, inner, 1).squeeze(2) for rvq in rvqs]
        self._project_in = product(torch.cat(ins), None, 1)
        names = [f"{rvqs[0]}.vq.layers.0", *(f"{rvqs[1]}.vq.layers.{level}" for level in range(codebooks - 1))]
        self._books = [Codebook(weights.centroids(f"{name}._codebook", config.bins, inner)) for name in names]
        self._bins = config.bins
        # The sum over levels and the projection change places: what every code adds to a latent is known beforehand.
        semantic, acoustic = self._books[0].centroids, [book.centroids for book in self._books[1:]]
        self._latents = torch.cat([semantic @ outs[0].T, *(centroids @ outs[1].T for centroids in acoustic)])
        self._first_rows = config.bins * torch.arange(codebooks, device=self._latents.device)

    def encode(self, x: Tensor) -> Tensor:
        """x: [N, D] -> int64 [N, K]."""
        semantic, rest = self._project_in(x[:, None]).chunk(2, dim=2)
        codes = [self._books[0].nearest(semantic.contiguous())]
        rest = rest.contiguous()
        for book in self._books[1:]:
            codes.append(book.nearest(rest))
            if len(codes) < len(self._books):
                rest = rest - F.embedding(codes[-1], book.centroids)
        return torch.cat(codes, dim=1)

    def decode(self, codes: Tensor) -> Tensor:
        """codes: int64 [N, K], K up to the active number -> latents [N, D]. Raises ValueError for a code >= bins."""
        self.check(codes)
        return self.latents(codes)

    def check(self, codes: Tensor) -> None:
        """codes: int64 [N, K]. Raises ValueError for too many codebooks or a code >= bins."""
        K = codes.shape[1]
        if K not in range(1, len(self._books) + 1):
            raise ValueError(f"{K} codebooks, this codec has {len(self._books)} active")
        if codes.numel() and not 0 <= int(codes.min()) <= int(codes.max()) < self._bins:
            raise ValueError(f"a code is outside 0..{self._bins - 1}")

    def latents(self, codes: Tensor) -> Tensor:
        """`decode` of codes that were checked."""
        return F.embedding_bag(codes + self._first_rows[: codes.shape[1]], self._latents, mode="sum")

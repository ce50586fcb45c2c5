"""Split residual vector quantiser that learns: codebooks follow what they are used for (docs/model.md 1.5).

Centroids are running means of the vectors assigned to them (van den Oord et al. 2017, arXiv 1711.00937, appendix A.1).
The published file stores exactly the two running sums, so the buffers here carry the published names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moshi_cluster.models.mimi import MimiConfig
from training.mimi.naming import NamedLayers
from training.mimi.processes import from_first, summed

_DECAY = 0.99
_MIN_USAGE = 1e-5
_SCATTER = 0.02  # around the vector that an entry is placed on, as a share of the batch's deviation
_DEAD_SHARE = 0.05  # of the use an even split would give: such an entry starts again from a vector of the batch


@dataclass(frozen=True)
class Quantized:
    """What the quantizer makes of latents [B, T, D]."""

    latents: Tensor  # [B, T, D], gradients pass straight through
    semantic: Tensor  # [B, T, inner], the first codebook's vector, gradients pass straight through
    acoustic: Tensor  # [B, T, inner], the sum of the others' vectors, the same
    codes: Tensor  # int64 [B, T, K]
    commitment: Tensor  # scalar: how far encoder outputs are from their centroids


class TrainableCodebook(nn.Module):
    """Centroids [bins, inner] as running sums."""

    embedding_sum: Tensor
    cluster_usage: Tensor
    _initialized: Tensor

    def __init__(self, bins: int, inner: int) -> None:
        super().__init__()
        self.register_buffer("embedding_sum", torch.zeros(bins, inner))
        self.register_buffer("cluster_usage", torch.ones(bins))
        self.register_buffer("_initialized", torch.zeros(1))

    @property
    def centroids(self) -> Tensor:
        """[bins, inner]."""
        return self.embedding_sum / self.cluster_usage.clamp(min=_MIN_USAGE)[:, None]

    @torch.no_grad()
    def nearest(self, x: Tensor) -> Tensor:
        """x: [N, inner] -> int64 [N]."""
        centroids = self.centroids
        return torch.addmm(-centroids.square().sum(dim=1) / 2, x, centroids.T).argmax(dim=1)

    @torch.no_grad()
    def sums(self, x: Tensor, codes: Tensor) -> Tensor:
        """x: [N, inner] and the codes it got -> [bins, 1 + inner]: how many vectors each entry got, and their sum."""
        bins, inner = self.embedding_sum.shape
        with_count = torch.cat((x.new_ones(len(x), 1), x), dim=1)
        return x.new_zeros(bins, 1 + inner).index_add_(0, codes, with_count)

    @torch.no_grad()
    def learn(self, sums: Tensor, x: Tensor) -> None:
        """Moves the centroids towards `sums` of all processes; dead ones start again from vectors of x: [N, inner]."""
        counts = sums[:, 0]
        self.cluster_usage.lerp_(counts, 1 - _DECAY)
        self.embedding_sum.lerp_(sums[:, 1:], 1 - _DECAY)
        even = float(counts.sum()) / len(counts)
        dead = (self.cluster_usage < _DEAD_SHARE * even).nonzero().flatten()
        if len(dead):
            self._place(dead, x, even)

    @torch.no_grad()
    def start(self, x: Tensor) -> None:
        """Places all centroids on vectors of a first batch x: [N, inner]."""
        self._place(torch.arange(len(self.cluster_usage)), x, len(x) / len(self.cluster_usage))
        self._initialized.fill_(1)

    def _place(self, entries: Tensor, x: Tensor, usage: float) -> None:
        chosen = x[torch.randint(len(x), (len(entries),))]
        chosen = from_first(chosen + _SCATTER * x.std() * torch.randn_like(chosen))
        self.cluster_usage[entries] = usage
        self.embedding_sum[entries] = chosen * usage


class _Level(nn.Module):
    def __init__(self, config: MimiConfig) -> None:
        super().__init__()
        self._codebook = TrainableCodebook(config.bins, config.codebook_width)


class ResidualQuantizer(nn.Module):
    """A chain of codebooks, each for what the ones before left; parameters are named as published."""

    def __init__(self, config: MimiConfig, levels: int) -> None:
        super().__init__()
        width, inner = config.latent_width, config.codebook_width
        self.input_proj = nn.Conv1d(width, inner, 1, bias=False)
        self.output_proj = nn.Conv1d(inner, width, 1, bias=False)
        self.vq = NamedLayers([_Level(config) for _ in range(levels)])
        self._seen: list[tuple[Tensor, Tensor]] = []

    def forward(self, x: Tensor, active: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """x: [N, D] -> vectors [N, inner] straight through, codes [N, levels], commitment.

        active: int [N], how many levels count for each row; all when absent.
        """
        projected = F.linear(x, self.input_proj.weight.squeeze(2))
        rest, codes, commitment = projected, [], projected.new_zeros(())
        total = torch.zeros_like(projected)
        self._seen = []
        for index, book in enumerate(self.codebooks()):
            if self.training and not book._initialized.item():
                book.start(rest.detach())
            code = book.nearest(rest.detach())
            vector = book.centroids[code]
            self._seen.append((rest.detach(), code))
            commitment = commitment + F.mse_loss(rest, vector)
            total = total + (vector if active is None else vector * (index < active)[:, None])
            rest = rest - vector
            codes.append(code)
        through = projected + (total - projected).detach()
        return through, torch.stack(codes, dim=1), commitment / len(codes)

    def codebooks(self) -> list[TrainableCodebook]:
        """In the order of the chain."""
        return [cast(_Level, level)._codebook for level in self.vq.layers]

    def seen(self) -> list[tuple[TrainableCodebook, Tensor, Tensor]]:
        """Each codebook with the vectors [N, inner] and codes [N] of the last call."""
        return [(book, *seen) for book, seen in zip(self.codebooks(), self._seen, strict=True)]

    def project_out(self, vectors: Tensor) -> Tensor:
        """vectors: [N, inner] -> [N, D]."""
        return F.linear(vectors, self.output_proj.weight.squeeze(2))


class SplitQuantizer(nn.Module):
    """One semantic codebook beside a chain of acoustic ones, both from the same latent."""

    def __init__(self, config: MimiConfig) -> None:
        super().__init__()
        self.rvq_first = ResidualQuantizer(config, 1)
        self.rvq_rest = ResidualQuantizer(config, config.codebooks - 1)

    def forward(self, latents: Tensor, active: Tensor | None = None) -> Quantized:
        """latents: [B, T, D]; active: int [B], how many acoustic codebooks count for each row."""
        B, T, width = latents.shape
        flat = latents.reshape(B * T, width)
        semantic, first, commit_first = self.rvq_first(flat)
        acoustic, others, commit_rest = self.rvq_rest(flat, None if active is None else active.repeat_interleave(T))
        out = self.rvq_first.project_out(semantic) + self.rvq_rest.project_out(acoustic)
        return Quantized(
            latents=out.view(B, T, width),
            semantic=semantic.view(B, T, -1),
            acoustic=acoustic.view(B, T, -1),
            codes=torch.cat((first, others), dim=1).view(B, T, -1),
            commitment=commit_first + commit_rest,
        )

    def learn(self) -> None:
        """Moves all codebooks towards the vectors of the last call, of all processes."""
        books = self.rvq_first.seen() + self.rvq_rest.seen()
        sums = summed(torch.stack([book.sums(x, codes) for book, x, codes in books]))
        for (book, x, _), its_sums in zip(books, sums, strict=True):
            book.learn(its_sums, x)

    def perplexities(self) -> list[float]:
        """How many entries each codebook uses, counted by the entropy of their running use."""
        usages = [book.cluster_usage for book in (*self.rvq_first.codebooks(), *self.rvq_rest.codebooks())]
        shares = [usage / usage.sum() for usage in usages]
        return [float(torch.special.entr(share).sum().exp()) for share in shares]

"""Token embeddings: ids of all streams to the sum of their vectors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from moshi_cluster.models.layers.quantised import QuantisedMatrix, Stored
from moshi_cluster.models.layers.quantised.matrix import stacked
from moshi_cluster.models.layers.table import Table
from moshi_cluster.models.moshi_lm.conditions import Condition
from moshi_cluster.models.moshi_lm.weights import LmWeights


class TokenTables:
    """Embedding tables of several streams in one, each after a row of zeros that id -1 ("no embedding") reads."""

    def __init__(self, tables: Sequence[Stored], dtype: torch.dtype) -> None:
        """tables: one [vocabulary, D] per stream; dtype: of the sum."""
        self._dtype = dtype
        self._table = Table(_with_zeros(tables, dtype), dtype)
        sizes = [1] + [table.shape[0] + 1 for table in tables[:-1]]
        self._first = torch.tensor(sizes, device=tables[0].device).cumsum(0)

    def sum(self, tokens: Tensor) -> Tensor:
        """tokens: int64 [N, streams] -> the sum over streams [N, D]."""
        return self._table(tokens + self._first).sum(dim=1, dtype=torch.float32).to(self._dtype)


def load_table(weights: LmWeights, name: str, vocabulary: int, dim: int, low_rank: int | None = None) -> Stored:
    """[vocabulary, dim]. A low-rank table is multiplied out: it is small, and a lookup is cheaper than a product."""
    if low_rank is None:
        return weights.table(f"{name}.weight", vocabulary, dim)
    table = weights.tensor(f"{name}.weight", vocabulary, low_rank)
    widening = weights.tensor(f"{name}.low_rank.weight", dim, low_rank)
    return (table.float() @ widening.float().T).to(table)


def condition_vector(weights: LmWeights, conditions: Sequence[Condition], dim: int) -> Tensor | None:
    """What conditions add to every frame's embedding, in the model's type: [dim]; None without any."""
    total: Tensor | None = None
    for condition in conditions:
        table = weights.wide(f"{condition.key}.embed.weight", condition.bins + 1, condition.width)
        widening = weights.wide(f"{condition.key}.output_proj.weight", dim, condition.width)
        vector = widening @ table[condition.index]
        total = vector if total is None else total + vector
    return None if total is None else total.to(weights.dtype)


def _with_zeros(tables: Sequence[Stored], dtype: torch.dtype) -> Stored:
    """All tables in one, a row of zeros before each; quantised if all are, in the same way."""
    matrices = [table for table in tables if isinstance(table, QuantisedMatrix)]
    if len(matrices) == len(tables) and all(matrix.same_kind(matrices[0]) for matrix in matrices):
        return stacked([matrix for table in matrices for matrix in (table.zero_row(), table)])
    dense = [table.dense(dtype) if isinstance(table, QuantisedMatrix) else table for table in tables]
    return torch.cat([row for table in dense for row in (torch.zeros_like(table[:1]), table)])

"""Token ids to vectors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from models.moshi_lm.names import Weights


class TokenTables:
    """Embedding tables of several streams in one, each after a row of zeros that id -1 ("no embedding") reads."""

    def __init__(self, tables: Sequence[Tensor]) -> None:
        """tables: one [vocabulary, D] per stream."""
        sizes = [1] + [table.shape[0] + 1 for table in tables[:-1]]
        self._table = torch.cat([F.pad(table, (0, 0, 1, 0)) for table in tables])
        self._first = torch.tensor(sizes, device=self._table.device).cumsum(0)

    def sum(self, tokens: Tensor) -> Tensor:
        """tokens: int64 [N, streams] -> the sum over streams [N, D]."""
        return F.embedding(tokens + self._first, self._table).sum(dim=1, dtype=torch.float32).to(self._table)


def load_table(weights: Weights, name: str, vocabulary: int, dim: int, low_rank: int | None = None) -> Tensor:
    """[vocabulary, dim]. A low-rank table is multiplied out: it is small, and a lookup is cheaper than a product."""
    table = weights.tensor(f"{name}.weight", vocabulary, low_rank or dim)
    if low_rank is None:
        return table
    widening = weights.tensor(f"{name}.low_rank.weight", dim, low_rank)
    return (table.float() @ widening.float().T).to(table)

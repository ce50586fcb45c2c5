"""The language model: weights only, no session state."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from models.moshi_lm.attention import Attention
from models.moshi_lm.config import LmConfig
from models.moshi_lm.depth import Choose, DepthTransformer
from models.moshi_lm.embeddings import TokenTables, load_table
from models.moshi_lm.kv_ring import KvRing
from models.moshi_lm.names import Weights
from models.moshi_lm.temporal import TemporalTransformer


class MoshiLm:
    """Tokens of a frame to a hidden state, hidden state to text logits and audio tokens."""

    def __init__(self, weights: Weights, config: LmConfig) -> None:
        self.config = config
        self.dtype = weights.dtype
        self.device = weights.device
        tables = [load_table(weights, f"emb.{k}", config.card + 1, config.dim) for k in range(config.n_q)]
        # Summed in upstream's order: codebooks first, text last.
        tables.append(load_table(weights, "text_emb", config.text_card + 1, config.dim))
        self._tokens = TokenTables(tables)
        self._temporal = TemporalTransformer(weights, config, self.device)
        self._text_head = weights.linear("text_linear", config.text_card_out, config.dim)
        self._depth = DepthTransformer(weights, config) if config.dep_q else None

    @classmethod
    def from_tensors(
        cls,
        tensors: Mapping[str, Tensor],
        config: LmConfig,
        dtype: torch.dtype = torch.bfloat16,
        device: torch.device | str = "cpu",
    ) -> MoshiLm:
        """tensors: a checkpoint in PyTorch's layout, any of its spellings; cast to dtype.

        Raises ValueError naming the key that is missing or has another shape than the configuration says.
        """
        return cls(Weights(tensors, config, dtype, device), config)

    def ring(self, slots: int, capacity: int | None = None) -> KvRing:
        """An empty memory. capacity: frames attended to, at most and by default the configuration's context."""
        return self._temporal.ring(slots, min(capacity or self.config.context, self.config.context), self.dtype)

    def hidden(
        self, tokens: Tensor, positions: Tensor, attention: Attention, trace: list[Tensor] | None = None
    ) -> Tensor:
        """tokens: int64 [N, 1 + n_q] as the model reads them, -1 for nothing; positions: int64 [N] -> [N, D].

        trace: gets the residual stream after every layer.
        """
        embedded = self._tokens.sum(tokens.roll(-1, dims=1))
        if len(tokens) > 1:
            return self._temporal(embedded, positions, attention, trace)
        return self._temporal(_twice(embedded), positions, _Single(attention), trace)[:1]

    def text_logits(self, hidden: Tensor) -> Tensor:
        """[N, D] -> [N, text_card_out] in the model's type."""
        return self._text_head(hidden)

    def audio(self, hidden: Tensor, text: Tensor, choose: Choose) -> Tensor:
        """hidden: [N, D], text: int64 [N] of the same frames -> own tokens int64 [N, dep_q].

        choose(codebook, logits [N, card]) gives the tokens [N] of each codebook in turn.
        """
        if self._depth is None:
            return text.new_empty(text.shape[0], 0)
        if len(hidden) > 1:
            return self._depth(hidden, text, choose)
        return self._depth(_twice(hidden), _twice(text), lambda k, logits: _twice(choose(k, logits[:1])))[:1]


class _Single:
    """A single row is computed as two equal ones, for kernels for one row may sum in another order; the session sees
    one. `Linear` would do the same, once per product."""

    def __init__(self, attention: Attention) -> None:
        self._attention = attention

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return _twice(self._attention(layer, q[:1], k[:1], v[:1]))


def _twice(row: Tensor) -> Tensor:
    """[1, ...] -> [2, ...]."""
    return torch.cat((row, row))

"""The language model, weights only, no session state (docs/model.md 2)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from moshi_cluster.models.layers.quantised import Stored
from moshi_cluster.models.moshi_lm.adapters import Adapter
from moshi_cluster.models.moshi_lm.attention import Attention
from moshi_cluster.models.moshi_lm.config import LmConfig
from moshi_cluster.models.moshi_lm.depth import Choose, DepthTransformer
from moshi_cluster.models.moshi_lm.embeddings import TokenTables, condition_vector, load_table
from moshi_cluster.models.moshi_lm.kv_cache import KvCache
from moshi_cluster.models.moshi_lm.temporal import TemporalTransformer
from moshi_cluster.models.moshi_lm.weights import LmWeights, Quantise


class MoshiLm:
    """Tokens of a frame to a hidden state, hidden state to text logits and audio tokens."""

    def __init__(self, weights: LmWeights, config: LmConfig) -> None:
        self.config = config
        self.dtype = weights.dtype
        self.device = weights.device
        tables = [load_table(weights, f"emb.{k}", config.card + 1, config.dim) for k in range(config.n_q)]
        # Summed in upstream's order: codebooks first, text last.
        tables.append(load_table(weights, "text_emb", config.text_card + 1, config.dim))
        self._tokens = TokenTables(tables, weights.dtype)
        self._condition = condition_vector(weights, config.conditions, config.dim)
        self._temporal = TemporalTransformer(weights, config, self.device)
        self._text_head = weights.linear("text_linear", config.text_card_out, config.dim)
        # `Linear` fills up small batches on CPU; doing it here does it once per frame instead of once per product.
        self._least_rows = self._text_head.least_rows
        self._depth = DepthTransformer(weights, config) if config.dep_q else None

    @classmethod
    def from_tensors(
        cls,
        tensors: Mapping[str, Stored],
        config: LmConfig,
        dtype: torch.dtype = torch.bfloat16,
        device: torch.device | str = "cpu",
        quantise: Quantise | None = None,
        adapter: Adapter | None = None,
    ) -> MoshiLm:
        """tensors: a checkpoint by its published PyTorch names, in any of their spellings; cast to dtype where dense.

        quantise: makes the weights of linear layers that are not quantised in the checkpoint.
        Raises ValueError naming the key that is missing, has another shape than the configuration says, or is left
        over.
        """
        weights = LmWeights(tensors, config, dtype, device, quantise, adapter)
        lm = cls(weights, config)
        weights.check_all_used()
        return lm

    def kv_cache(self, slots: int, capacity: int | None = None, dtype: torch.dtype | None = None) -> KvCache:
        """An empty KV cache. capacity: frames attended to, at most and by default the configuration's context; dtype:
        the model's by default, torch.int8 for 8 bits."""
        context = min(capacity or self.config.context, self.config.context)
        return self._temporal.kv_cache(slots, context, dtype or self.dtype)

    def hidden(
        self,
        tokens: Tensor,
        positions: Tensor,
        attention: Attention,
        trace: list[Tensor] | None = None,
        embedded_first: Tensor | None = None,
    ) -> Tensor:
        """tokens: int64 [N, 1 + n_q] as the model reads them, -1 for nothing; positions: int64 [N] -> [N, D].

        trace: gets the residual stream after every layer. embedded_first: [n, D], in place of the first n rows' tokens.
        """
        embedded = self._embedded(tokens, embedded_first)
        rows, least = len(tokens), self._least_rows
        if rows >= least:
            return self._temporal(embedded, positions, attention, trace)
        filled = _filled(embedded, least), _filled(positions, least)
        return self._temporal(*filled, _FirstRows(attention, rows), trace)[:rows]

    def remember(
        self, tokens: Tensor, positions: Tensor, attention: Attention, embedded_first: Tensor | None = None
    ) -> None:
        """Reads frames of which only the cache is to know: as `hidden`, without the hidden states."""
        embedded = self._embedded(tokens, embedded_first)
        rows, least = len(tokens), self._least_rows
        if rows >= least:
            self._temporal.remember(embedded, positions, attention)
        else:
            filled = _filled(embedded, least), _filled(positions, least)
            self._temporal.remember(*filled, _FirstRows(attention, rows))

    def _embedded(self, tokens: Tensor, embedded_first: Tensor | None) -> Tensor:
        """[N, D]."""
        embedded = self._tokens.sum(tokens.roll(-1, dims=1))
        if self._condition is not None:
            embedded += self._condition
        if embedded_first is not None:
            embedded[: len(embedded_first)] = embedded_first.to(embedded)
        return embedded

    def text_logits(self, hidden: Tensor) -> Tensor:
        """[N, D] -> [N, text_card_out] in the model's type."""
        return self._text_head(hidden)

    def audio(self, hidden: Tensor, text: Tensor, choose: Choose) -> Tensor:
        """hidden: [N, D], text: int64 [N] of the same frames -> own tokens int64 [N, dep_q].

        choose(codebook, logits [N, card]) gives the tokens [N] of each codebook in turn.
        """
        if self._depth is None:
            return text.new_empty(text.shape[0], 0)
        rows, least = len(hidden), self._least_rows
        if rows >= least:
            return self._depth(hidden, text, choose)

        def choose_filled(codebook: int, logits: Tensor) -> Tensor:
            return _filled(choose(codebook, logits[:rows]), least)

        return self._depth(_filled(hidden, least), _filled(text, least), choose_filled)[:rows]


class _FirstRows:
    """Attention of the rows that belong to sessions; the rows that fill up the batch get copies of the last one."""

    def __init__(self, attention: Attention, rows: int) -> None:
        self._attention = attention
        self._rows = rows

    def __call__(self, layer: int, qkv: Tensor, rotations: Tensor) -> Tensor:
        rows = self._rows
        return _filled(self._attention(layer, qkv[:rows], rotations[:rows]), len(qkv))

    def remember(self, layer: int, qkv: Tensor, rotations: Tensor) -> None:
        self._attention.remember(layer, qkv[: self._rows], rotations[: self._rows])


def _filled(x: Tensor, rows: int) -> Tensor:
    """[N, ...] -> [rows, ...], the last row repeated."""
    return torch.cat((x, x[-1:].expand(rows - len(x), *x.shape[1:])))

"""The Depth Transformer: the audio tokens of one frame, one codebook after the other."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from moshi_cluster.models.kernels.depth_attention import depth_attention, depth_attention_reference
from moshi_cluster.models.layers.placement import on_cpu
from moshi_cluster.models.layers.table import Table
from moshi_cluster.models.moshi_lm.config import LmConfig
from moshi_cluster.models.moshi_lm.embeddings import load_table
from moshi_cluster.models.moshi_lm.feed_forward import GatedFeedForward
from moshi_cluster.models.moshi_lm.norms import Norm, load_norm
from moshi_cluster.models.moshi_lm.positions import qkv_rows, sinusoidal
from moshi_cluster.models.moshi_lm.weights import LmWeights

Choose = Callable[[int, Tensor], Tensor]  # codebook, logits [N, card] -> its tokens int64 [N]


class DepthTransformer:
    """Step k reads the hidden state and the token before it (text, then codebook k - 1) and gives codebook k's logits.

    Every step has weights of its own, a schedule may let steps share them; the norms within layers are common to all.
    It starts afresh each frame; positions and a last norm it has where the configuration says so (docs/model.md 2.5).
    """

    def __init__(self, weights: LmWeights, config: LmConfig) -> None:
        self._codebooks = config.dep_q
        self._dim = dim = config.depformer_dim
        self._schedule = config.depformer_weights_per_step_schedule
        low_rank = config.depformer_low_rank_embeddings
        tables = [load_table(weights, "depformer_text_emb", config.text_card + 1, dim, low_rank)]
        for codebook in range(config.dep_q - 1):
            tables.append(load_table(weights, f"depformer_emb.{codebook}", config.card + 1, dim, low_rank))
        self._tables = [Table(table, weights.dtype) for table in tables]
        self._inputs = weights.linears([f"depformer_in.{b}" for b in range(config.depth_blocks)], dim, config.dim)
        self._layers = [
            _DepthLayer(weights, f"depformer.layers.{i}", config) for i in range(config.depformer_num_layers)
        ]
        self._positions = self._load_positions(config, weights.device)
        self._head_norms = [_head_norm(weights, config, k) for k in range(config.dep_q)]
        self._heads = [weights.linear(f"linears.{k}", config.card, dim) for k in range(config.dep_q)]

    def __call__(self, hidden: Tensor, text: Tensor, choose: Choose) -> Tensor:
        """hidden: [N, D] of the Temporal Transformer, text: int64 [N] -> tokens int64 [N, dep_q]."""
        inputs = self._inputs(hidden).view(hidden.shape[0], -1, self._dim).unbind(1)
        buffers = [layer.qkv_buffer(hidden.shape[0], self._codebooks) for layer in self._layers]
        tokens = [text]
        for step, block in enumerate(self._schedule):
            x = inputs[block] + self._tables[step](tokens[-1])
            if self._positions is not None:
                x = x + self._positions[step].to(x.dtype)
            for layer, buffer in zip(self._layers, buffers, strict=True):
                x = layer(x, step, block, buffer)
            tokens.append(choose(step, self._heads[step](self._head_norms[step](x))))
        return torch.stack(tokens[1:], dim=1)

    def _load_positions(self, config: LmConfig, device: torch.device | str) -> Tensor | None:
        """Float32 [dep_q, D], or None."""
        if config.depformer_pos_emb == "none":
            return None
        return sinusoidal(torch.arange(self._codebooks, device=device), self._dim, config.depformer_max_period)


def _kv_repeat(weights: LmWeights, name: str, config: LmConfig) -> int:
    """The configuration's, or, where the file's matrices are of that width, the Temporal Transformer's.

    There are files whose config.json says depformer_kv_repeat 1 and that were made as if the key were absent.
    """
    own, inherited, dim = config.depformer_kv_repeat, config.kv_repeat, config.depformer_dim
    fits = own != inherited and weights.rows(name) == dim + 2 * dim // inherited
    return inherited if fits else own


def _head_norm(weights: LmWeights, config: LmConfig, codebook: int) -> Norm:
    if config.depformer_norm is None:
        return lambda x: x
    return load_norm(weights, f"depformer_norms.{codebook}", config.depformer_norm, config.depformer_dim)


class _DepthLayer:
    def __init__(self, weights: LmWeights, name: str, config: LmConfig) -> None:
        dim, blocks = config.depformer_dim, range(config.depth_blocks)
        self._heads = config.depformer_num_heads
        self._head_dim = dim // self._heads
        self._attention_norm = load_norm(weights, f"{name}.norm1", config.norm, dim)
        repeat = _kv_repeat(weights, f"{name}.self_attn.in_projs.0", config)
        stored, rows = dim + 2 * dim // repeat, qkv_rows(dim, self._heads, repeat, halves=False)
        self._qkv = [weights.linear(f"{name}.self_attn.in_projs.{b}", stored, dim, rows) for b in blocks]
        self._out = [weights.linear(f"{name}.self_attn.out_projs.{b}", dim, dim) for b in blocks]
        self._feed_forward_norm = load_norm(weights, f"{name}.norm2", config.norm, dim)
        self._feed_forward = [GatedFeedForward(weights, f"{name}.gating.{b}", dim) for b in blocks]
        self._device = weights.device

    def qkv_buffer(self, rows: int, steps: int) -> Tensor:
        """Queries, keys and values of one frame, [N, 3, steps, heads, head_dim].

        Float32 whatever the type of the model: elementwise arithmetic is faster in it on CPU, and there is little.
        """
        return torch.empty(rows, 3, steps, self._heads, self._head_dim, device=self._device)

    def __call__(self, x: Tensor, step: int, block: int, buffer: Tensor) -> Tensor:
        """x: [N, D] of one step -> the same."""
        qkv = self._qkv[block](self._attention_norm(x)).view(x.shape[0], 3, self._heads, self._head_dim)
        attend = depth_attention_reference if on_cpu(x.device) else depth_attention
        x = self._out[block].add(attend(qkv, buffer, step), x)
        return self._feed_forward[block](self._feed_forward_norm(x), x)

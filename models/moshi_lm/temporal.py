"""The Temporal Transformer: one vector per frame, attending over the past frames of its own session."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from moshi_cluster.models.layers.rope import Rope
from moshi_cluster.models.moshi_lm.attention import Attention
from moshi_cluster.models.moshi_lm.config import LmConfig
from moshi_cluster.models.moshi_lm.feed_forward import load_feed_forward
from moshi_cluster.models.moshi_lm.kv_cache import KvCache
from moshi_cluster.models.moshi_lm.norms import load_norm
from moshi_cluster.models.moshi_lm.positions import qkv_rows, sinusoidal
from moshi_cluster.models.moshi_lm.weights import LmWeights


class TemporalTransformer:
    """x <- x + Attn(norm x); x <- x + FF(norm x) per layer, then a last norm (docs/model.md 2.3)."""

    def __init__(self, weights: LmWeights, config: LmConfig, device: torch.device | str) -> None:
        self._config = config
        self._device = device
        self._head_dim = config.dim // config.num_heads
        rotary = "rope" in config.positional_embedding
        self._rope = Rope(self._head_dim, config.max_period, device) if rotary else None
        self._sinusoidal = config.positional_embedding in ("sin", "sin_rope")
        self._layers = [_TemporalLayer(weights, f"transformer.layers.{i}", config) for i in range(config.num_layers)]
        self._out_norm = load_norm(weights, "out_norm", config.norm, config.dim)

    def kv_cache(self, slots: int, capacity: int, dtype: torch.dtype) -> KvCache:
        """An empty KV cache for that many sessions."""
        config = self._config
        return KvCache(config.num_layers, slots, config.num_heads, self._head_dim, capacity, dtype, self._device)

    def __call__(self, x: Tensor, positions: Tensor, attention: Attention, trace: list[Tensor] | None = None) -> Tensor:
        """x: [N, D], positions: int64 [N] of its rows -> normed hidden states [N, D].

        attention: knows the sessions of the rows (KvCache.step, KvCache.chunk). trace: gets every layer's output.
        """
        x, rotations = self._placed(x, positions)
        for i, layer in enumerate(self._layers):
            x = layer(x, rotations, i, attention)
            if trace is not None:
                trace.append(x.clone())
        return self._out_norm(x)

    def remember(self, x: Tensor, positions: Tensor, attention: Attention) -> None:
        """As a call, for rows whose hidden states nobody asks for: only keys and values are left behind."""
        x, rotations = self._placed(x, positions)
        last = len(self._layers) - 1
        for i, layer in enumerate(self._layers[:last]):
            x = layer(x, rotations, i, attention)
        self._layers[last].remember(x, rotations, last, attention)

    def _placed(self, x: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """What the first layer reads, and the rotations of all."""
        if self._sinusoidal:
            x = x + sinusoidal(positions, self._config.dim, self._config.max_period).to(x.dtype)
        return x, self._rotations(positions)

    def _rotations(self, positions: Tensor) -> Tensor:
        """[N, 2, 1, head_dim / 2]: for queries, with the scale of attention in it, and for keys."""
        if self._rope is None:
            rotations = torch.ones(len(positions), 1, self._head_dim // 2, dtype=torch.complex64, device=self._device)
        else:
            rotations = self._rope.rotations(positions)
        return torch.stack((rotations / math.sqrt(self._head_dim), rotations), dim=1)


class _TemporalLayer:
    def __init__(self, weights: LmWeights, name: str, config: LmConfig) -> None:
        dim = config.dim
        self._heads = config.num_heads
        self._attention_norm = load_norm(weights, f"{name}.norm1", config.norm, dim)
        halves = config.positional_embedding == "rope_concat"
        rows = qkv_rows(dim, self._heads, config.kv_repeat, halves)
        self._qkv = weights.linear(f"{name}.self_attn.in_projs.0", dim + 2 * dim // config.kv_repeat, dim, rows)
        self._out = weights.linear(f"{name}.self_attn.out_projs.0", dim, dim)
        self._feed_forward_norm = load_norm(weights, f"{name}.norm2", config.norm, dim)
        self._feed_forward = load_feed_forward(weights, name, config.gating, dim)

    def __call__(self, x: Tensor, rotations: Tensor, index: int, attention: Attention) -> Tensor:
        x = self._out.add(attention(index, self._queries_keys_values(x), rotations), x)
        return self._feed_forward(self._feed_forward_norm(x), x)

    def remember(self, x: Tensor, rotations: Tensor, index: int, attention: Attention) -> None:
        attention.remember(index, self._queries_keys_values(x), rotations)

    def _queries_keys_values(self, x: Tensor) -> Tensor:
        return self._qkv(self._attention_norm(x)).view(x.shape[0], 3, self._heads, -1)

"""The language model in differentiable form: whole sessions at once, every token given."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moshi_cluster.models.layers.rope import Rope, rotate
from moshi_cluster.models.moshi_lm.config import LmConfig
from training.lm.depth import TrainableDepthTransformer
from training.lm.layers import TrainableGatedFeedForward, TrainableRmsNorm, TrainableTokenTables, attend, normal

INNER_LAYER = 2  # layers below the auxiliary heads


class TrainableLm(nn.Module):
    """The Temporal Transformer and its heads. The same function as `models.moshi_lm.MoshiLm` (docs/model.md 2.3)."""

    def __init__(self, config: LmConfig, hidden_size: int, depth_hidden_size: int) -> None:
        """hidden_size, depth_hidden_size: of the gated feed-forward layers."""
        super().__init__()
        self.config = config
        audio = [config.card + 1] * config.n_q
        self.tokens = TrainableTokenTables(
            [*audio, config.text_card + 1], config.dim, std=0.5 / math.sqrt(config.streams)
        )
        self.layers = nn.ModuleList(TemporalLayer(config, hidden_size) for _ in range(config.num_layers))
        self.out_norm = TrainableRmsNorm(config.dim)
        self.text_head = normal(config.text_card_out, config.dim)
        self.depth = TrainableDepthTransformer(config, depth_hidden_size)
        self._rope = Rope(config.dim // config.num_heads, config.max_period)

    def hidden(self, inputs: Tensor, dropout: float = 0.0) -> tuple[Tensor, Tensor]:
        """inputs: int64 [B, T, 1 + n_q] as the model reads them -> normed hidden states [B, T, D], and the residual
        stream after INNER_LAYER layers [B, T, D], of which auxiliary heads read."""
        inner = self.inner(inputs, dropout)
        return self.out_norm(self._through(self.layers[INNER_LAYER:], inner, dropout)), inner

    def inner(self, inputs: Tensor, dropout: float = 0.0) -> Tensor:
        """inputs: int64 [B, T, 1 + n_q] -> the residual stream after INNER_LAYER layers [B, T, D]."""
        x = F.dropout(self.tokens.sum(inputs.roll(-1, dims=2)), dropout, self.training)
        return self._through(self.layers[:INNER_LAYER], x, dropout)

    def _through(self, layers: Iterable[nn.Module], x: Tensor, dropout: float) -> Tensor:
        T = x.shape[1]
        rotations = self._rope.rotations(torch.arange(T)).to(x.device)
        unseen = _unseen(T, self.config.context).to(x.device)
        for layer in layers:
            x = layer(x, rotations, unseen, dropout)
        return x

    def text_logits(self, hidden: Tensor) -> Tensor:
        """[..., D] -> [..., text_card_out]."""
        return F.linear(hidden, self.text_head)

    def audio_logits(self, hidden: Tensor, raw: Tensor) -> Tensor:
        """hidden: [N, D], raw: int64 [N, dep_q], the text token and all own codes but the last of the same calls ->
        [dep_q, N, card]."""
        logits: Tensor = self.depth(hidden, raw)
        return logits


class TemporalLayer(nn.Module):
    """x <- x + Attn(norm x); x <- x + FF(norm x)."""

    def __init__(self, config: LmConfig, hidden_size: int) -> None:
        super().__init__()
        dim, branches = config.dim, 2 * config.num_layers
        self._heads = config.num_heads
        self.attention_norm = TrainableRmsNorm(dim)
        self.in_proj = normal(3 * dim, dim)
        self.out_proj = normal(dim, dim, gain=1 / math.sqrt(branches))
        self.feed_forward_norm = TrainableRmsNorm(dim)
        self.feed_forward = TrainableGatedFeedForward(dim, hidden_size, gain=1 / math.sqrt(branches))

    def forward(self, x: Tensor, rotations: Tensor, unseen: Tensor, dropout: float) -> Tensor:
        """x: [B, T, D], rotations: [T, 1, head_dim / 2], unseen: [T, T], 0 or minus infinity -> [B, T, D]."""
        x = x + F.dropout(self._attend(self.attention_norm(x), rotations, unseen), dropout, self.training)
        return x + F.dropout(self.feed_forward(self.feed_forward_norm(x)), dropout, self.training)

    def _attend(self, x: Tensor, rotations: Tensor, unseen: Tensor) -> Tensor:
        qkv = F.linear(x, self.in_proj).unflatten(-1, (3, self._heads, -1))
        q, k = rotate(qkv[:, :, :2], rotations[:, None]).transpose(1, 3).unbind(2)  # [B, heads, T, head_dim]
        return F.linear(attend(q, k, qkv[:, :, 2].transpose(1, 2), unseen).transpose(1, 2).flatten(2), self.out_proj)


def _unseen(T: int, context: int) -> Tensor:
    """[T, T], to be added to scores: frame q sees frame p iff 0 <= q - p < context."""
    distance = torch.arange(T)[:, None] - torch.arange(T)
    return torch.zeros(T, T).masked_fill_((distance < 0) | (distance >= context), -math.inf)

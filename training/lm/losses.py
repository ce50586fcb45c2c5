"""Training losses of the language model."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor

from training.lm.auxiliary import CallerHeads
from training.lm.data import Batch
from training.lm.model import TrainableLm
from training.lm.streams import NONE, depth_tokens


@dataclass(frozen=True)
class LossWeights:
    """How much each part of the loss counts."""

    padding: float = 0.3  # a text token that says nothing, against one that does
    text: float = 2.5
    semantic: float = 0.3  # own codebook 0
    acoustic: float = 0.7  # own codebooks from 1 on, their mean
    phones: float = 0.15
    words: float = 0.4
    alone_phones: float = 0.3
    alone_words: float = 0.8
    silent_rows: float = 0.1  # share of the frames without Moshi's voice whose codes are trained


@dataclass(frozen=True)
class Losses:
    """Means over a batch, in nats."""

    text: Tensor  # per text token that says something, padding's share included
    semantic: Tensor  # per trained code
    acoustic: Tensor
    phones: Tensor
    words: Tensor
    alone_phones: Tensor  # of callers to whom nobody answers
    alone_words: Tensor

    def total(self, weights: LossWeights) -> Tensor:
        parts = [getattr(self, field.name) * getattr(weights, field.name) for field in fields(self)]
        return torch.stack(parts).sum()

    def numbers(self) -> dict[str, float]:
        return {field.name: float(getattr(self, field.name).detach()) for field in fields(self)}


def losses(
    lm: TrainableLm, heads: CallerHeads, batch: Batch, alone: Batch, weights: LossWeights, dropout: float
) -> Losses:
    """Losses of one batch of calls and one of callers alone, of whom only the lower layers hear."""
    hidden, inner = lm.hidden(batch.inputs, dropout)
    semantic, acoustic = _audio_losses(lm, hidden, batch, weights)
    phones, words = heads.losses(inner, batch)
    alone_phones, alone_words = heads.losses(lm.inner(alone.inputs, dropout), alone)
    text = _text_loss(lm.text_logits(hidden), batch.targets[..., 0], lm.config.existing_text_padding_id, weights)
    return Losses(text, semantic, acoustic, phones, words, alone_phones, alone_words)


def _text_loss(logits: Tensor, targets: Tensor, padding: int, weights: LossWeights) -> Tensor:
    each = F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), ignore_index=NONE, reduction="none")
    said = (targets.flatten() != padding) & (targets.flatten() != NONE)
    return (each * torch.where(said, 1.0, weights.padding)).sum() / said.sum().clamp(min=1)


def _audio_losses(lm: TrainableLm, hidden: Tensor, batch: Batch, weights: LossWeights) -> tuple[Tensor, Tensor]:
    """Of frames in which Moshi speaks and some of the others: silence is soon learnt and most of a call."""
    some = torch.rand(batch.speaking.shape, device=hidden.device) < weights.silent_rows
    rows = (batch.speaking | some) & (batch.targets[..., 0] != NONE)
    targets = batch.targets[rows]
    logits = lm.audio_logits(hidden[rows], depth_tokens(targets))
    each = F.cross_entropy(
        logits.flatten(0, 1).float(), targets[:, 1:].T.flatten(), ignore_index=NONE, reduction="none"
    ).view(logits.shape[:2])
    count = max(1, len(targets))
    return each[0].sum() / count, each[1:].sum() / (count * (len(each) - 1))


def corrupted(inputs: Tensor, card: int, spoken: int, own_share: float, user_share: float) -> Tensor:
    """Replaces that share of the codes in inputs [B, T, 1 + n_q] by random ones; `spoken` streams are text and own."""
    share = torch.full(inputs.shape[-1:], user_share, device=inputs.device)
    share[0], share[1:spoken] = 0.0, own_share
    wrong = torch.rand(inputs.shape, device=inputs.device) < share
    return torch.where(wrong, torch.randint_like(inputs, card), inputs)

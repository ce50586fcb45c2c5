"""Text bias of every row by its own settings: fewer repetitions, more or less silence (docs/model.md 3.4)."""

from __future__ import annotations

import torch
from torch import Tensor

from moshi_cluster.models.kernels.operator import operator


def text_bias_reference(
    logits: Tensor,
    spoken: Tensor,
    counts: Tensor,
    remembered: Tensor,
    penalties: Tensor,
    paddings: Tensor,
    padding_id: int,
) -> Tensor:
    """logits: [R, vocabulary] -> the same with what the rows' sessions ask for, float32.

    spoken: int64 [R, places], a ring of text tokens that say something, of which `counts` [R] were put in so far and
    the last `remembered` [R] count, each once; penalties, paddings: float64 [R], what the padding token's logit gains.
    """
    biased = logits.float()
    if biased is logits:
        biased = biased.clone()
    places = spoken.shape[1]
    age = (counts[:, None] - 1 - torch.arange(places, device=spoken.device)) % places
    # Before the ring is full, its unused places are the oldest.
    counted = (age < torch.minimum(counts, remembered)[:, None]) & (spoken < biased.shape[1])
    tokens = torch.where(counted, spoken, padding_id)
    recent, penalty = biased.gather(1, tokens), penalties.float()[:, None]
    held_back = torch.where(recent < 0, recent * penalty, recent / penalty)
    biased.scatter_(1, tokens, torch.where(counted, held_back, recent))
    biased[:, padding_id] += paddings.float()
    return biased


text_bias = operator(text_bias_reference, lambda logits, *rest: torch.empty_like(logits, dtype=torch.float32))

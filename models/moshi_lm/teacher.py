"""Teacher forcing: logits along given tokens, for comparing implementations and weight formats."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from moshi_cluster.models.moshi_lm.model import MoshiLm


@dataclass(frozen=True)
class Forced:
    """What the model computes when every token is given."""

    hidden: Tensor  # [T, D], after the last norm
    text_logits: Tensor  # float32 [T, text vocabulary]
    audio_logits: Tensor  # float32 [T, dep_q, card]
    layers: Tensor  # [layers, T, D], residual stream after every temporal layer


@torch.inference_mode()
def teacher_forced(lm: MoshiLm, inputs: Tensor, raw: Tensor, kv_dtype: torch.dtype | None = None) -> Forced:
    """One session from its start.

    inputs: int64 [T, 1 + n_q] as the model reads them at each call; raw: int64 [T, 1 + dep_q], text and own codes of
    the same calls, on which each depth step is conditioned; kv_dtype: of the KV cache, if not the model's.
    """
    T = inputs.shape[0]
    inputs, raw = inputs.to(lm.device), raw.to(lm.device)
    layers: list[Tensor] = []
    hidden = lm.hidden(inputs, torch.arange(T, device=lm.device), lm.kv_cache(1, dtype=kv_dtype).chunk(0, 0, T), layers)
    audio_logits: list[Tensor] = []

    def given(codebook: int, logits: Tensor) -> Tensor:
        audio_logits.append(logits.float())
        return raw[:, 1 + codebook]

    lm.audio(hidden, raw[:, 0], given)
    audio = torch.stack(audio_logits, dim=1) if audio_logits else hidden.new_empty(T, 0, lm.config.card)
    return Forced(hidden, lm.text_logits(hidden).float(), audio, torch.stack(layers)[:, :T])

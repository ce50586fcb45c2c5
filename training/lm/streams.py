"""Token streams of sessions as the model reads them: delayed, shifted by one call, begun with the initial tokens.

At call c the model reads the text and code 0 of frame c - 1 and the other codes of frame c - 2, and predicts text and
code 0 of frame c and the other codes of frame c - 1 (docs/model.md 3.1; `models.moshi_lm.timeline` at run time).
"""

from __future__ import annotations

import torch
from torch import Tensor

from moshi_cluster.models.moshi_lm.config import LmConfig

NONE = -1  # a target that no frame has


def lay_out(tokens: Tensor, config: LmConfig) -> tuple[Tensor, Tensor]:
    """tokens: int64 [T, 1 + n_q], text, own codes and user's codes of every frame -> inputs [T, 1 + n_q] and targets
    [T, 1 + dep_q] of T calls, NONE where a call predicts no frame."""
    T = len(tokens)
    inputs = torch.tensor(config.initial_tokens).repeat(T, 1)
    targets = torch.full((T, config.generated), NONE)
    for stream, delay in enumerate(config.delays):
        inputs[1 + delay :, stream] = tokens[: max(0, T - 1 - delay), stream]
        if stream < config.generated:
            targets[delay:, stream] = tokens[: T - delay, stream]
    return inputs, targets


def depth_tokens(targets: Tensor) -> Tensor:
    """targets: [..., 1 + dep_q] -> what each depth step is conditioned on, [..., dep_q]."""
    return targets[..., :-1].clamp(min=0)

"""Text bias that a session may ask for: more or less silence, fewer repetitions (docs/model.md 3.4)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from moshi_cluster.models.moshi_lm.config import LmConfig
from moshi_cluster.models.sampling import Sampling


class SpokenText:
    """A session's last text tokens, those that say nothing left out."""

    def __init__(self, sampling: Sampling, config: LmConfig) -> None:
        self.sampling = sampling
        self.padding_id = config.existing_text_padding_id
        self._silent = {self.padding_id, config.existing_text_end_padding_id, config.text_card}
        remembered = sampling.repetition_penalty_context if sampling.repetition_penalty != 1 else 0
        self._tokens: deque[int] = deque(maxlen=remembered)

    @property
    def is_biased(self) -> bool:
        """Whether the session asks for anything here."""
        return bool(self.remembered or self.sampling.padding_multiplier)

    @property
    def remembered(self) -> int:
        """How many tokens are kept, at most."""
        return self._tokens.maxlen or 0

    @property
    def recent(self) -> Sequence[int]:
        """Tokens in the order in which they were said."""
        return self._tokens

    @property
    def tokens(self) -> list[int]:
        """Each once, in no order that means anything."""
        return sorted(set(self._tokens))

    def extend(self, tokens: Iterable[int]) -> None:
        """Tokens in the order of their frames."""
        if self.remembered:
            self._tokens.extend(token for token in tokens if token not in self._silent)


def biased(logits: Tensor, sessions: Sequence[SpokenText]) -> Tensor:
    """logits: [N, vocabulary] of these sessions -> the same with what they ask for; rows never influence each other.

    A recent token's logit is divided by the penalty where it is positive and multiplied where it is negative (Keskar et
    al. 2019); the padding token's probability at the session's temperature is multiplied by exp(padding_multiplier).
    """
    if not any(session.is_biased for session in sessions):
        return logits
    logits = logits.float().clone()
    for row, session in zip(logits, sessions, strict=True):
        sampling = session.sampling
        if tokens := [token for token in session.tokens if token < len(row)]:
            recent, penalty = row[tokens], sampling.repetition_penalty
            row[tokens] = torch.where(recent < 0, recent * penalty, recent / penalty)
        row[session.padding_id] += sampling.padding_multiplier * sampling.text_temperature
    return logits

"""Choosing tokens: greedy or top-k sampling, every session with settings and noise of its own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from models.moshi_lm.noise import gumbel, stream_keys

_MARGIN = 16  # candidates beyond the largest top-k, for ties with the last


@dataclass(frozen=True)
class Sampling:
    """How one session's tokens are drawn. Temperature 0 is greedy; top-k 0 keeps the whole vocabulary."""

    text_temperature: float = 0.7
    text_top_k: int = 25
    audio_temperature: float = 0.8
    audio_top_k: int = 250
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("text_temperature", "audio_temperature"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name}: expected a finite number of at least 0, found {getattr(self, name)}")
        for name in ("text_top_k", "audio_top_k"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}: expected at least 0, found {getattr(self, name)}")


class Draws:
    """The choices of one call, for all rows of a batch. Stream 0 is text, stream 1 + k is own codebook k."""

    def __init__(
        self, samplings: Sequence[Sampling], calls: Sequence[int], streams: int, device: torch.device | str
    ) -> None:
        self._text = _Rule([s.text_temperature for s in samplings], [s.text_top_k for s in samplings], device)
        self._audio = _Rule([s.audio_temperature for s in samplings], [s.audio_top_k for s in samplings], device)
        self._keys = None
        if self._text.draws or self._audio.draws:
            self._keys = stream_keys([s.seed for s in samplings], calls, streams, device)

    def text(self, logits: Tensor) -> Tensor:
        """logits: [N, vocabulary] -> tokens int64 [N]."""
        return self._choose(self._text, 0, logits)

    def audio(self, codebook: int, logits: Tensor) -> Tensor:
        """logits: [N, card] -> tokens int64 [N]."""
        return self._choose(self._audio, 1 + codebook, logits)

    def _choose(self, rule: _Rule, stream: int, logits: Tensor) -> Tensor:
        if self._keys is None or not rule.draws:
            return logits.argmax(dim=-1)
        drawn = rule.draw(logits.float(), self._keys[:, stream])
        return torch.where(rule.greedy, logits.argmax(dim=-1), drawn) if rule.any_greedy else drawn


class _Rule:
    """Temperature and top-k of every row."""

    def __init__(self, temperatures: list[float], top_ks: list[int], device: torch.device | str) -> None:
        self.any_greedy = 0 in temperatures
        self.draws = any(temperatures)
        if not self.draws:
            return
        self.greedy = torch.tensor([temperature == 0 for temperature in temperatures], device=device)
        self._temperature = torch.tensor([[t or 1.0] for t in temperatures], dtype=torch.float64, device=device)
        # A greedy row draws too, for nothing: let it not widen the others' search.
        self._top_k = [k if temperature else 1 for k, temperature in zip(top_ks, temperatures, strict=True)]

    def draw(self, logits: Tensor, keys: Tensor) -> Tensor:
        """A sample of softmax(logits / temperature) over the tokens not below the k-th: the argmax of
        logits / temperature + Gumbel noise (Gumbel 1954). Ties with the k-th stay in, so that the set depends on
        the row alone."""
        values, tokens, last = self._candidates(logits)
        score = values.double().div_(self._temperature).add_(gumbel(keys, tokens))
        best = score.masked_fill_(values < last, -math.inf).argmax(dim=-1, keepdim=True)
        return tokens.gather(1, best)[:, 0]

    def _candidates(self, logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits and ids [N, C] that include all tokens not below the k-th of their row, and the k-th [N, 1]."""
        vocabulary = logits.shape[1]
        top_k = [min(k, vocabulary) or vocabulary for k in self._top_k]
        count = max(top_k) + _MARGIN
        while count < vocabulary:
            values, tokens = logits.topk(count, sorted=False)
            last = _kth_largest(values, top_k)
            if bool((values.amin(dim=1, keepdim=True) < last).all()):
                return values, tokens, last
            count *= 2  # more ties than the margin holds
        everything = torch.arange(vocabulary, device=logits.device).expand_as(logits)
        return logits, everything, _kth_largest(logits, top_k)


def _kth_largest(values: Tensor, top_k: list[int]) -> Tensor:
    """values: [N, C], a k for every row -> [N, 1]."""
    if min(top_k) == max(top_k):
        return values.kthvalue(values.shape[1] - top_k[0] + 1, dim=1, keepdim=True).values
    index = torch.tensor(top_k, device=values.device)[:, None] - 1
    return values.sort(dim=1, descending=True).values.gather(1, index)

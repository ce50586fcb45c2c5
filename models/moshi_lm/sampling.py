"""Choosing tokens: greedy or top-k sampling, every session with settings and noise of its own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from moshi_cluster.models.moshi_lm.filling import filled
from moshi_cluster.models.moshi_lm.noise import gumbel, stream_keys

_EVERY = 1 << 40  # a top-k beyond any vocabulary
_MARGIN = 16  # candidates beyond the largest top-k, for ties with the last
_SPARE = 8192  # so many tokens too much get noise before it is worth while to find out which ones need it


@dataclass(frozen=True)
class Sampling:
    """How one session's tokens are drawn. Temperature 0 is greedy; top-k 0 keeps the whole vocabulary.

    padding_multiplier, repetition_penalty: see text_bias.
    """

    text_temperature: float = 0.7
    text_top_k: int = 25
    audio_temperature: float = 0.8
    audio_top_k: int = 250
    seed: int = 0
    padding_multiplier: float = 0.0
    repetition_penalty: float = 1.0
    repetition_penalty_context: int = 64  # text tokens

    def __post_init__(self) -> None:
        for name in ("text_temperature", "audio_temperature"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name}: expected a finite number of at least 0, found {getattr(self, name)}")
        for name in ("text_top_k", "audio_top_k", "repetition_penalty_context"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}: expected at least 0, found {getattr(self, name)}")
        if not math.isfinite(self.padding_multiplier):
            raise ValueError(f"padding_multiplier: expected a finite number, found {self.padding_multiplier}")
        if not 1 <= self.repetition_penalty < math.inf:
            raise ValueError(
                f"repetition_penalty: expected a finite number of at least 1, found {self.repetition_penalty}"
            )


class Draws:
    """The choices of one call, for all rows of a batch. Stream 0 is text, stream 1 + k is own codebook k."""

    def __init__(
        self,
        samplings: Sequence[Sampling],
        calls: Sequence[int],
        streams: int,
        device: torch.device | str,
        rows: int = 0,
    ) -> None:
        """rows: of the batch, where it was filled up beyond the sessions with copies of the last."""
        text = [(s.text_temperature, s.text_top_k) for s in samplings]
        audio = [(s.audio_temperature, s.audio_top_k) for s in samplings]
        self._text = self._audio = None
        if any(temperature for temperature, _ in text + audio):
            keys = stream_keys([s.seed for s in samplings], calls, streams, device).T
            rows = max(rows, len(samplings))
            self._text, self._audio = _Rule(text, keys[:1], rows), _Rule(audio, keys[1:], rows)

    def text(self, logits: Tensor) -> Tensor:
        """logits: [N, vocabulary] -> tokens int64 [N]."""
        return self._text.choose(0, logits) if self._text else logits.argmax(dim=-1)

    def audio(self, codebook: int, logits: Tensor) -> Tensor:
        """logits: [N, card] -> tokens int64 [N]."""
        return self._audio.choose(codebook, logits) if self._audio else logits.argmax(dim=-1)


class _Rule:
    """Temperature and top-k of every session, for some streams of one vocabulary.

    A sample of softmax(logits / temperature) over the tokens not below the k-th is their argmax of logits +
    temperature * Gumbel noise (Gumbel 1954); temperature 0 is greedy without a case of its own. Ties with the k-th
    stay in, so that the set depends on the row alone.
    """

    def __init__(self, settings: list[tuple[float, int]], keys: Tensor, rows: int) -> None:
        """settings: temperature and top-k of each session; keys: int64 [streams, sessions]."""
        drawn = [k or _EVERY for temperature, k in settings if temperature]
        self._draws = bool(drawn)
        if not drawn:
            return
        self._keys, self._sessions, self._rows = keys, len(settings), rows
        self._temperatures = torch.tensor([[t] for t, _ in settings], dtype=torch.float64, device=keys.device)
        self._least_k, self._most_k = min(drawn), max(drawn)
        # Whatever a greedy session's: let it not be a case of its own.
        top_ks = [(k or _EVERY) if temperature else self._least_k for temperature, k in settings]
        self._ranks = filled(torch.tensor(top_ks, device=keys.device)[:, None] - 1, rows)
        self._noise: tuple[Tensor, ...] | None = None

    def choose(self, stream: int, logits: Tensor) -> Tensor:
        """logits: [N, vocabulary] -> tokens int64 [N]."""
        if not self._draws:
            return logits.argmax(dim=-1)
        logits = logits.float()
        vocabulary = logits.shape[1]
        if self._sessions * (vocabulary - self._most_k - _MARGIN) > _SPARE:
            return filled(self._among_largest(stream, logits[: self._sessions]), self._rows)
        if self._noise is None:
            self._noise = self._noise_of_all(vocabulary)
        score = self._noise[stream] + logits
        if self._least_k < vocabulary:
            score.masked_fill_(logits < self._kth_largest(logits), -math.inf)
        return score.argmax(dim=-1)

    def _noise_of_all(self, vocabulary: int) -> tuple[Tensor, ...]:
        """Every token's, for each stream: float64 [N, vocabulary]. At once, for the calls cost more than the noise."""
        noise = gumbel(self._keys, torch.arange(vocabulary, device=self._keys.device)).mul_(self._temperatures)
        return filled(noise.transpose(0, 1), self._rows).unbind(1)

    def _among_largest(self, stream: int, logits: Tensor) -> Tensor:
        """The same with noise only for candidates that include all tokens not below the k-th of their row."""
        count = self._most_k + _MARGIN
        while True:
            values, tokens = logits.topk(count, sorted=False)
            last = self._kth_largest(values)
            if count == logits.shape[1] or bool((values.amin(dim=1, keepdim=True) < last).all()):
                break
            count = min(2 * count, logits.shape[1])  # more ties than the margin holds
        score = gumbel(self._keys[stream], tokens).mul_(self._temperatures).add_(values)
        score.masked_fill_(values < last, -math.inf)
        # Greedy rows tie often in bfloat16, and topk gives no order: the first token of the vocabulary, as argmax does.
        return tokens.masked_fill_(score < score.amax(dim=1, keepdim=True), logits.shape[1]).amin(dim=1)

    def _kth_largest(self, values: Tensor) -> Tensor:
        """values: [N, C] -> [N, 1], by each row's own k."""
        rows, count = values.shape
        if self._least_k == self._most_k:
            return values.kthvalue(count - self._least_k + 1, dim=1, keepdim=True).values
        ranks = self._ranks[:rows].clamp(max=count - 1)
        return values.sort(dim=1, descending=True).values.gather(1, ranks)

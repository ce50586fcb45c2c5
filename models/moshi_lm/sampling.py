"""Token sampling, greedy or top-k, every session with settings and noise of its own (docs/model.md 3.3)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from moshi_cluster.models.kernels.noise import gumbel, stream_keys
from moshi_cluster.models.sampling import Sampling

_MARGIN = 16  # candidates beyond the largest top-k, for ties with the last
_SPARE = 8192  # so many tokens too much get noise before it is worth while to find out which ones need it


class Draws:
    """Token choices of one call, for all sessions of a batch. Stream 0 is text, stream 1 + k is own codebook k."""

    def __init__(
        self, samplings: Sequence[Sampling], calls: Sequence[int], streams: int, device: torch.device | str
    ) -> None:
        text = [(s.text_temperature, s.text_top_k) for s in samplings]
        audio = [(s.audio_temperature, s.audio_top_k) for s in samplings]
        self._text = self._audio = None
        if any(temperature for temperature, _ in text + audio):
            keys = stream_keys([s.seed for s in samplings], calls, streams, device).T
            self._text, self._audio = _Rule(text, keys[:1]), _Rule(audio, keys[1:])

    def text(self, logits: Tensor) -> Tensor:
        """logits: [N, vocabulary] -> tokens int64 [N]."""
        return self._text.choose(0, logits) if self._text else logits.argmax(dim=-1)

    def audio(self, codebook: int, logits: Tensor) -> Tensor:
        """logits: [N, card] -> tokens int64 [N]."""
        return self._audio.choose(codebook, logits) if self._audio else logits.argmax(dim=-1)


class _Rule:
    """Top-k sampling with every session's temperature and top-k, for some streams of one vocabulary.

    A sample of softmax(logits / temperature) over the tokens not below the k-th is their argmax of logits +
    temperature * Gumbel noise (Gumbel 1954); temperature 0 is greedy without a case of its own. Ties with the k-th
    stay in, so that the set depends on the row alone.
    """

    def __init__(self, parameters: list[tuple[float, int]], keys: Tensor) -> None:
        """parameters: temperature and top-k of each session; keys: int64 [streams, N]."""
        drawn = [k for temperature, k in parameters if temperature]
        self._draws = bool(drawn)
        if not drawn:
            return
        self._keys = keys
        self._temperatures = torch.tensor([[t] for t, _ in parameters], dtype=torch.float64, device=keys.device)
        self._least_k, self._most_k = min(drawn), max(drawn)
        # Whatever a greedy session's: let it not be a case of its own.
        top_ks = [k if temperature else self._least_k for temperature, k in parameters]
        self._ranks = torch.tensor(top_ks, device=keys.device)[:, None] - 1
        self._noise: tuple[Tensor, ...] | None = None

    def choose(self, stream: int, logits: Tensor) -> Tensor:
        """logits: [N, vocabulary] -> tokens int64 [N]."""
        if not self._draws:
            return logits.argmax(dim=-1)
        logits = logits.float()
        rows, vocabulary = logits.shape
        if rows * (vocabulary - self._most_k - _MARGIN) > _SPARE:
            return self._among_largest(stream, logits)
        if self._noise is None:
            self._noise = self._noise_of_all(vocabulary)
        score = self._noise[stream] + logits
        if self._least_k < vocabulary:
            score.masked_fill_(logits < self._kth_largest(logits), -math.inf)
        return score.argmax(dim=-1)

    def _noise_of_all(self, vocabulary: int) -> tuple[Tensor, ...]:
        """Noise of every token, for each stream float64 [N, vocabulary]: the calls cost more than the noise."""
        noise = gumbel(self._keys, torch.arange(vocabulary, device=self._keys.device)).mul_(self._temperatures)
        return noise.unbind(0)

    def _among_largest(self, stream: int, logits: Tensor) -> Tensor:
        """`choose`, with noise only for candidates that include all tokens not below the k-th of their row."""
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
        if self._least_k == self._most_k:
            return values.kthvalue(values.shape[1] - self._least_k + 1, dim=1, keepdim=True).values
        ranks = self._ranks.clamp(max=values.shape[1] - 1)
        return values.sort(dim=1, descending=True).values.gather(1, ranks)

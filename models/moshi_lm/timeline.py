"""Timeline of a session: which token is read and returned when, for any published `delays` (docs/model.md 3.1).

Calls are numbered from 0 in each session. At call c the model reads the tokens that it sampled at call c - 1 and, of a
user stream with delay d, the code given at call c - d; until call d it reads the stream's initial token. What it
samples for a stream with delay d belongs to frame c - d. With D the largest delay, call c completes reply frame c - D,
and the user's frame f is given at call f + D.
"""

from __future__ import annotations

import torch
from torch import Tensor

from moshi_cluster.models.moshi_lm.config import LmConfig

UNKNOWN = -1


class Timeline:
    """The last tokens of every session, on the host: int64 [slots, calls, streams], call c at place c mod size."""

    def __init__(self, config: LmConfig, slots: int) -> None:
        self._generated = config.generated
        self._max_delay = config.max_delay
        self._size = 2 * config.max_delay + 2  # as far back as replies reach, as far ahead as a restored history does
        self._tokens = torch.full((slots, self._size, config.streams), UNKNOWN)
        self._stream = torch.arange(config.streams)
        self._delays = torch.tensor(config.delays)
        self._initial = torch.tensor(config.initial_tokens)
        self._lookback = self._delays.clone()
        self._lookback[: self._generated] = 1

    def inputs(self, slots: Tensor, calls: Tensor) -> Tensor:
        """What the model reads: [N, streams] for slots [N] at their calls [N]."""
        calls = calls[:, None]
        read = self._tokens[slots[:, None], (calls - self._lookback) % self._size, self._stream]
        return torch.where(calls <= self._delays, self._initial, read)

    def give(self, slots: Tensor, calls: Tensor, user_codes: Tensor) -> None:
        """user_codes: [N, user codebooks] arriving at these calls."""
        self._tokens[slots, calls % self._size, self._generated :] = user_codes

    def sampled(self, slots: Tensor, calls: Tensor, tokens: Tensor) -> None:
        """tokens: [N, generated] that the model chose at these calls."""
        self._tokens[slots, calls % self._size, : self._generated] = tokens

    def reply(self, slots: Tensor, calls: Tensor) -> Tensor:
        """The frame that these calls completed, streams aligned: [N, generated]."""
        calls = calls[:, None] - self._max_delay + self._delays[: self._generated]
        return self._tokens[slots[:, None], calls % self._size, self._stream[: self._generated]]

    def restore(self, slot: int, history: Tensor) -> None:
        """Puts a slot where it was after the frames of a history [n, streams], as far as they tell."""
        calls = torch.arange(max(0, len(history) - self._max_delay - 1), len(history) + self._max_delay)
        self._tokens[slot] = UNKNOWN
        self._tokens[slot, calls % self._size] = self.known(history, calls)

    def known(self, history: Tensor, calls: Tensor) -> Tensor:
        """Tokens sampled and given at calls [C], [C, streams]; UNKNOWN where the history does not tell."""
        return self._look_up(history, calls[:, None].expand(-1, len(self._stream)))

    def known_inputs(self, history: Tensor, calls: Tensor) -> Tensor:
        """`inputs` of a session at calls [C] not after its history's length, [C, streams]."""
        calls = calls[:, None]
        return torch.where(calls <= self._delays, self._initial, self._look_up(history, calls - self._lookback))

    def _look_up(self, history: Tensor, calls: Tensor) -> Tensor:
        frames = calls - self._delays
        frames[:, self._generated :] = calls[:, self._generated :] - self._max_delay
        inside = (frames >= 0) & (frames < len(history))
        # Before the session's first frame the user's codes are the initial token, the model's own are unread.
        outside = torch.where((frames < 0) & (self._stream >= self._generated), self._initial, UNKNOWN)
        if len(history) == 0:
            return outside
        return torch.where(inside, history[frames.clamp(0, len(history) - 1), self._stream], outside)

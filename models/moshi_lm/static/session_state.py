"""State of every session on the device beside its keys and values: settings, spoken text, and the last tokens."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from moshi_cluster.models.moshi_lm.config import LmConfig
from moshi_cluster.models.moshi_lm.text_bias import SpokenText
from moshi_cluster.models.moshi_lm.timeline import UNKNOWN
from moshi_cluster.models.sampling import LIMITS, Sampling

_INTEGERS = 6  # seed, text top-k, audio top-k, text tokens remembered, text tokens spoken, earlier calls
_COUNT = 4
_FLOATS = 4  # text temperature, audio temperature, repetition penalty, what the padding token's logit gains
_SPOKEN = int(LIMITS["repetition_penalty_context"].most)


@dataclass(frozen=True)
class RowSettings:
    """Settings of the sessions of R rows."""

    integers: Tensor  # int64 [_INTEGERS, R]
    floats: Tensor  # float64 [_FLOATS, R]
    spoken: Tensor  # int64 [R, _SPOKEN], a ring

    @property
    def seeds(self) -> Tensor:
        return self.integers[0]

    @property
    def top_ks(self) -> tuple[Tensor, Tensor]:
        """Of text and of audio."""
        return self.integers[1], self.integers[2]

    @property
    def remembered(self) -> Tensor:
        """How many text tokens a repetition is looked for in."""
        return self.integers[3]

    @property
    def counts(self) -> Tensor:
        """How many text tokens were put into `spoken` so far."""
        return self.integers[_COUNT]

    @property
    def earlier_calls(self) -> Tensor:
        """How many calls there were before the first one that the history tells of."""
        return self.integers[5]

    @property
    def temperatures(self) -> tuple[Tensor, Tensor]:
        """Of text and of audio."""
        return self.floats[0], self.floats[1]

    @property
    def penalties(self) -> Tensor:
        return self.floats[2]

    @property
    def paddings(self) -> Tensor:
        return self.floats[3]


class SessionState:
    """Fixed tensors with a row per slot, and one more, the scratch slot, for rows that are nobody's."""

    def __init__(self, config: LmConfig, slots: int, spare: int, device: torch.device | str) -> None:
        """spare: rows of one session that a step may have."""
        self._config = config
        self.scratch = slots
        # Integers, the bits of the floats, and the spoken text of a slot side by side: a session opens with one copy.
        self._sessions = torch.zeros(slots + 1, _INTEGERS + _FLOATS + _SPOKEN, dtype=torch.int64, device=device)
        # Call c at place c mod size. Rows of one session write before they read, as far back as replies and delays go.
        self._size = spare + config.max_delay + 2
        self._tokens = torch.full((slots + 1, self._size, config.streams), UNKNOWN, device=device)
        self._stream = torch.arange(config.streams, device=device)
        self._delays = torch.tensor(config.delays, device=device)
        self._initial = torch.tensor(config.initial_tokens, device=device)
        self._lookback = self._delays.clone()
        self._lookback[: config.generated] = 1
        silent = config.existing_text_padding_id, config.existing_text_end_padding_id, config.text_card
        self._silent = torch.tensor(silent, device=device)

    def open(self, slot: int, sampling: Sampling, history: Tensor, earlier_frames: int = 0) -> None:
        """Notes a session's settings and what it said last. Its tokens come with the rows that read its history."""
        row = session_row(sampling, history, earlier_frames, self._config)
        self._sessions[slot].copy_(row, non_blocking=True)  # pageable memory: it was read when this returns

    def remember(self, slot: int, calls: Tensor, known: Tensor) -> None:
        """Notes tokens [C, streams] of calls [C] that no row reads, because their keys and values are there."""
        self._tokens[slot, (calls % self._size).to(self._tokens.device)] = known.to(self._tokens.device)

    def inputs(self, slots: Tensor, calls: Tensor, known: Tensor) -> Tensor:
        """What the model reads in R rows at their calls: int64 [R, streams].

        known: int64 [R, streams], tokens sampled and given at these calls, UNKNOWN for those to be sampled.
        """
        self._tokens[slots, calls % self._size] = known
        calls = calls[:, None]
        read = self._tokens[slots[:, None], (calls - self._lookback) % self._size, self._stream]
        return torch.where(calls <= self._delays, self._initial, read)

    def settings(self, slots: Tensor) -> RowSettings:
        """slots: int64 [R]."""
        rows = self._sessions[slots]
        columns = rows[:, : _INTEGERS + _FLOATS].T.contiguous()
        return RowSettings(columns[:_INTEGERS], columns[_INTEGERS:].view(torch.float64), rows[:, _INTEGERS + _FLOATS :])

    def tokens(self, slots: Tensor, calls: Tensor) -> Tensor:
        """What the model chose, or was told, at these calls: int64 [R, generated]."""
        return self._tokens[slots, calls % self._size, : self._config.generated]

    def sampled(self, slots: Tensor, calls: Tensor, tokens: Tensor) -> None:
        """tokens: int64 [R, generated] that the model chose at these calls, or was told."""
        self._tokens[slots, calls % self._size, : self._config.generated] = tokens

    def spoke(self, slots: Tensor, calls: Tensor, text: Tensor, known: Tensor, settings: RowSettings) -> None:
        """text: int64 [R] of these calls; of a token that was known the history of `open` has told.

        Of a session at most one row of a step chooses a text token that belongs to a frame.
        """
        says = (known < 0) & (calls >= self._delays[0]) & ~(text[:, None] == self._silent).any(dim=1)
        rows = torch.where(says, slots, self.scratch)
        counts = settings.counts
        self._sessions[rows, _INTEGERS + _FLOATS + counts % _SPOKEN] = text
        self._sessions[rows, _COUNT] = counts + 1

    def replies(self, slots: Tensor, calls: Tensor) -> Tensor:
        """The frames that these calls completed, streams aligned: int64 [R, generated]."""
        generated = self._config.generated
        calls = calls[:, None] - self._config.max_delay + self._delays[:generated]
        return self._tokens[slots[:, None], calls % self._size, self._stream[:generated]]


def session_row(sampling: Sampling, history: Tensor, earlier_frames: int, config: LmConfig) -> Tensor:
    """A session as `SessionState` holds it, int64; history: int64 [n, streams]."""
    spoken = SpokenText(sampling, config)
    spoken.extend(history[:, 0].tolist() if spoken.remembered else ())
    tokens = list(spoken.recent)
    seed = sampling.seed - (1 << 64) if sampling.seed >> 63 else sampling.seed
    integers = seed, sampling.text_top_k, sampling.audio_top_k, spoken.remembered, len(tokens), earlier_frames
    gain = sampling.padding_multiplier * sampling.text_temperature
    floats = sampling.text_temperature, sampling.audio_temperature, sampling.repetition_penalty, gain
    bits = torch.tensor(floats, dtype=torch.float64).view(torch.int64)
    tail = torch.tensor(tokens + [0] * (_SPOKEN - len(tokens)))
    return torch.cat((torch.tensor(integers), bits, tail))

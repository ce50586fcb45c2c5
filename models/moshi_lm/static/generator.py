"""Generator of conversations over the static step: prefill goes along in rows that decoding leaves unused."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from moshi_cluster.models.moshi_lm.generator import ReplyFrames
from moshi_cluster.models.moshi_lm.input_checks import check_history, check_user_codes
from moshi_cluster.models.moshi_lm.model import MoshiLm
from moshi_cluster.models.moshi_lm.static.kv_rings import SPARE_PLACES, KvRing
from moshi_cluster.models.moshi_lm.static.step import BUCKETS, StaticStep
from moshi_cluster.models.moshi_lm.timeline import UNKNOWN, Timeline
from moshi_cluster.models.sampling import Sampling

PREFILL_FRAMES = 32
"""A step's prefill reads as many keys and values as so many rows do whose windows are half full."""


@dataclass
class _Session:
    history: Tensor  # int64 [n, 1 + n_q]
    ready_at: int  # calls that lead to the state after the history
    call: int = 0  # the next call
    looked_at: int = 0  # the next call when `prefill` last looked

    @property
    def left(self) -> int:
        """Calls until it can step."""
        return max(0, self.ready_at - self.call)


class StaticGenerator:
    """Steps sessions that live in slots, as `Generator` does, with all state on the device. Not thread-safe.

    `launch` and `finish` are the halves of `step`, so that a host can work while the device does.
    """

    def __init__(
        self,
        lm: MoshiLm,
        slots: int,
        context: int | None = None,
        kv_dtype: torch.dtype | None = None,
        buckets: Sequence[int] = BUCKETS,
        spare: int = SPARE_PLACES,
        prefill_frames: int = PREFILL_FRAMES,
    ) -> None:
        """As `Generator`; buckets: numbers of rows of a step; spare: rows that one session's prefill may have in it;
        prefill_frames: rows of half a window whose keys and values all prefill of a step may read, so that sessions
        that speak keep their time whatever others open with."""
        self._config = lm.config
        self._step = StaticStep(lm, slots, context, kv_dtype, buckets, spare)
        self._timeline = Timeline(lm.config, 0)
        self._sessions: dict[int, _Session] = {}
        self._decoded = 0  # rows of the step in flight that answer a frame, the first ones
        self.device = torch.device(lm.device)
        self.context = self._step.context
        self.most_rows = self._step.most_rows
        self._prefill_keys = max(self.context, prefill_frames * self.context // 2)  # one row at least

    @property
    def rings(self) -> list[KvRing]:
        """Keys and values, layer by layer."""
        return self._step.rings

    def warm(self) -> None:
        """Records a step of every bucket where the device can; before the first session."""
        self._step.warm()

    def open(self, slot: int, sampling: Sampling, history: Tensor | None = None, earlier_frames: int = 0) -> None:
        """Starts a session in a free slot, as `Generator.open`."""
        config = self._config
        if not 0 <= slot < self._step.slots or slot in self._sessions:
            raise ValueError(f"slot {slot} is taken or is none of {self._step.slots}")
        if history is None:
            history = torch.empty(0, config.streams, dtype=torch.int64)
        check_history(history, config)
        history = history.cpu().to(torch.int64)
        self._sessions[slot] = _Session(history, len(history) + config.max_delay)
        self._step.state.open(slot, sampling, history, earlier_frames)

    def prefill(self, slot: int, max_frames: int) -> int:
        """How many frames of a session's state are left to rebuild, 0 when it can step.

        Where no step took some of them along since it was last asked, and none is in flight, it rebuilds at most
        max_frames now.
        """
        session = self._sessions[slot]
        if session.left and session.call == session.looked_at and not self._step.in_flight:
            rows = self._prefill_rows(slot, session, min(max_frames, self.most_rows), self._prefill_keys)
            self._step.launch(rows.int())
            self._step.finish()
        session.looked_at = session.call
        return session.left

    def left(self, slot: int) -> int:
        """Frames of a session's state that are left to rebuild; of those a step took along none is."""
        return self._sessions[slot].left

    def step(self, slots: Sequence[int], user_codes: Tensor) -> ReplyFrames:
        """One frame for the listed sessions, as `Generator.step`; prefill of others goes along."""
        self.launch(slots, user_codes)
        return self.finish()

    def launch(self, slots: Sequence[int], user_codes: Tensor) -> None:
        """Starts a step. user_codes: int64 [N, n_q - dep_q]. Raises ValueError before anything has changed."""
        sessions = self._ready(slots)
        check_user_codes(user_codes, len(slots), self._config)
        unknown = torch.full((len(slots), self._config.generated), UNKNOWN)
        where = torch.tensor([[slot, s.call] for slot, s in zip(slots, sessions, strict=True)])
        decoding = torch.cat((where, unknown, user_codes.cpu()), dim=1)
        for session in sessions:
            session.call += 1
        self._step.launch(torch.cat((decoding, *self._fill(self.most_rows - len(slots)))).int())
        self._decoded = len(slots)

    def finish(self) -> ReplyFrames:
        """Waits for the step in flight."""
        reply = self._step.finish()[: self._decoded].long()
        return ReplyFrames(reply[:, 0], reply[:, 1:])

    def close(self, slot: int) -> None:
        """Ends a session, if there is one. What it leaves behind in its slot no later session sees."""
        self._sessions.pop(slot, None)

    def _fill(self, room: int) -> Iterable[Tensor]:
        """Prefill rows for what a step has room and time for, the shortest history first, as engines ask for them."""
        keys = self._prefill_keys
        opening = [(slot, session) for slot, session in self._sessions.items() if session.left]
        for slot, session in sorted(opening, key=lambda item: len(item[1].history)):
            if room and keys:
                rows = self._prefill_rows(slot, session, room, keys)
                room -= len(rows)
                keys -= int((rows[:, 1] + 1).clamp(max=self.context).sum())
                yield rows

    def _prefill_rows(self, slot: int, session: _Session, most: int, keys: int) -> Tensor:
        """The session's next calls, int64 [N, 2 + streams]: those whose tokens its history tells, and one more.

        keys: that they may read.
        """
        told = max(1, len(session.history) + 1 - session.call)  # a call that samples waits for the one before
        end = session.call + min(session.left, told, most, self._step.spare)
        calls = torch.arange(session.call, end)
        calls = calls[(calls + 1).clamp(max=self.context).cumsum(0) <= keys]
        session.call += len(calls)
        where = torch.stack((torch.full_like(calls, slot), calls), dim=1)
        return torch.cat((where, self._timeline.known(session.history, calls)), dim=1)

    def _ready(self, slots: Sequence[int]) -> list[_Session]:
        if len(set(slots)) != len(slots) or not slots:
            raise ValueError(f"slots: expected some, each once, found {list(slots)}")
        if len(slots) > self.most_rows:
            raise ValueError(f"slots: {len(slots)} are more than the {self.most_rows} rows of a step")
        for slot in slots:
            if slot not in self._sessions:
                raise ValueError(f"slot {slot} has no session")
            if self._sessions[slot].left:
                raise ValueError(f"the session in slot {slot} is not prefilled yet")
        return [self._sessions[slot] for slot in slots]

"""Generator of conversations over the static step: prefill goes along in rows that decoding leaves unused."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from moshi_cluster.models.moshi_lm.generator import ReplyFrames
from moshi_cluster.models.moshi_lm.input_checks import check_user_codes, with_prompt
from moshi_cluster.models.moshi_lm.model import MoshiLm
from moshi_cluster.models.moshi_lm.prompt import Prompt
from moshi_cluster.models.moshi_lm.prompt_cache import PromptCache
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
    prompt: Prompt | None = None  # the first frames of the history

    embedded: int = 0  # first calls whose tokens stand for embeddings that are still to be read
    prompt_kept: bool = False

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
        prompt_cache_bytes: int = 0,
    ) -> None:
        """As `Generator`; buckets: numbers of rows of a step; spare: rows that one session's prefill may have in it;
        prefill_frames: rows of half a window whose keys and values all prefill of a step may read, so that sessions
        that speak keep their time whatever others open with."""
        self._config = lm.config
        self._step = StaticStep(lm, slots, context, kv_dtype, buckets, spare)
        self._timeline = Timeline(lm.config, 0)
        self._sessions: dict[int, _Session] = {}
        self.prompt_cache = PromptCache(prompt_cache_bytes)
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

    def open(
        self,
        slot: int,
        sampling: Sampling,
        history: Tensor | None = None,
        earlier_frames: int = 0,
        prompt: Prompt | None = None,
    ) -> None:
        """Starts a session in a free slot, as `Generator.open`."""
        config = self._config
        if not 0 <= slot < self._step.slots or slot in self._sessions:
            raise ValueError(f"slot {slot} is taken or is none of {self._step.slots}")
        if history is None:
            history = torch.empty(0, config.streams, dtype=torch.int64)
        said = history
        history = with_prompt(history, prompt, config)
        session = self._sessions[slot] = _Session(history, len(history) + config.max_delay, prompt=prompt)
        self._step.state.open(slot, sampling, said, earlier_frames)
        if prompt is not None:
            self._open_prompt(slot, session, prompt)

    def prefill(self, slot: int, max_frames: int) -> int:
        """How many frames of a session's state are left to rebuild, 0 when it can step.

        Where no step took some of them along since it was last asked, and none is in flight, it rebuilds at most
        max_frames now.
        """
        session = self._sessions[slot]
        if not self._step.in_flight:
            self._tend_prompt(slot, session)
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
        for slot, session in self._sessions.items():
            self._tend_prompt(slot, session)
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
        opening = [
            (slot, session)
            for slot, session in self._sessions.items()
            if session.left and not 0 < session.embedded == session.call
        ]
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
        end = min(end, session.embedded or end)
        calls = torch.arange(session.call, end)
        calls = calls[(calls + 1).clamp(max=self.context).cumsum(0) <= keys]
        session.call += len(calls)
        where = torch.stack((torch.full_like(calls, slot), calls), dim=1)
        return torch.cat((where, self._timeline.known(session.history, calls)), dim=1)

    def _open_prompt(self, slot: int, session: _Session, prompt: Prompt) -> None:
        if self.prompt_cache.restore(prompt.key, self._prompt_places(slot, prompt)):
            session.call = len(prompt.frames)
            session.prompt_kept = True
            calls = torch.arange(max(0, session.call - self._config.max_delay - 1), session.call)
            self._step.state.remember(slot, calls, self._timeline.known(session.history, calls))
        elif prompt.embeddings is not None:
            session.embedded = len(prompt.embeddings)

    def _tend_prompt(self, slot: int, session: _Session) -> None:
        """What a prompt needs while no step is in flight: embeddings read over their tokens, then its places kept."""
        prompt = session.prompt
        if prompt is None or session.prompt_kept:
            return
        if 0 < session.embedded == session.call:
            assert prompt.embeddings is not None  # they were counted
            self._step.read(slot, prompt.embeddings)
            session.embedded = 0
        if session.call >= len(prompt.frames):
            self.prompt_cache.keep(prompt.key, self._prompt_places(slot, prompt))
            session.prompt_kept = True

    def _prompt_places(self, slot: int, prompt: Prompt) -> list[Tensor]:
        """Keys and values of a slot's first frames, where they lie."""
        return [tensor[slot, :, : len(prompt.frames)] for ring in self.rings for tensor in ring.tensors]

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

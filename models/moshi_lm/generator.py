"""Generator of conversations: one frame of user codes in, one frame of Moshi's tokens out, many sessions at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from moshi_cluster.models.moshi_lm.input_checks import check_user_codes, with_prompt
from moshi_cluster.models.moshi_lm.model import MoshiLm
from moshi_cluster.models.moshi_lm.prompt import Prompt
from moshi_cluster.models.moshi_lm.prompt_cache import PromptCache
from moshi_cluster.models.moshi_lm.sampling import Draws
from moshi_cluster.models.moshi_lm.text_bias import SpokenText, biased
from moshi_cluster.models.moshi_lm.timeline import UNKNOWN, Timeline
from moshi_cluster.models.sampling import Sampling


@dataclass(frozen=True)
class ReplyFrames:
    """One frame of each listed session, on the host."""

    text: Tensor  # int64 [N]
    audio: Tensor  # int64 [N, dep_q]


@dataclass
class _Session:
    sampling: Sampling
    history: Tensor  # int64 [n, 1 + n_q]
    ready_at: int  # calls that lead to the state after the history
    spoken: SpokenText
    earlier_calls: int  # before the first one that the history tells of
    prompt: Prompt | None = None  # the first frames of the history
    call: int = 0  # the next call
    looked_at: int = -1  # the next call when `prefill` last looked

    @property
    def awaits_step(self) -> bool:
        """Whether its history is read, and the next step may take along what is left."""
        return len(self.history) <= self.call == self.looked_at < self.ready_at

    @property
    def prompt_frames(self) -> int:
        return 0 if self.prompt is None else len(self.prompt.frames)


class Generator:
    """Steps sessions that live in slots. Sessions are rows of a batch and never influence each other.

    A session's state is a function of its history: `open` notes it, `prefill` rebuilds the state in portions, and the
    empty history takes the same way, so every first user frame is answered at once. Not thread-safe.
    """

    def __init__(
        self,
        lm: MoshiLm,
        slots: int,
        context: int | None = None,
        kv_dtype: torch.dtype | None = None,
        prompt_cache_bytes: int = 0,
    ) -> None:
        """context: frames of KV cache per session if fewer than the model's; kv_dtype: of that cache if not
        the model's, torch.int8 for 8 bits."""
        self.prompt_cache = PromptCache(prompt_cache_bytes)
        self._lm = lm
        self._config = lm.config
        self.device = torch.device(lm.device)
        self.kv_cache = lm.kv_cache(slots, context, kv_dtype)
        self._timeline = Timeline(lm.config, slots)
        self._sessions: dict[int, _Session] = {}

    def open(
        self,
        slot: int,
        sampling: Sampling,
        history: Tensor | None = None,
        earlier_frames: int = 0,
        prompt: Prompt | None = None,
    ) -> None:
        """Starts a session in a free slot; `prefill` does the work.

        history: int64 [n, 1 + n_q], the n frames delivered so far: text token, own codes, user's codes.
        earlier_frames: before those, which it does not tell; the noise goes on where theirs ended. prompt: what was
        before the history. Raises ValueError for a taken slot or a history that the model cannot have produced.
        """
        config = self._config
        if not 0 <= slot < self.kv_cache.slots or slot in self._sessions:
            raise ValueError(f"slot {slot} is taken or is none of {self.kv_cache.slots}")
        if history is None:
            history = torch.empty(0, config.streams, dtype=torch.int64)
        history = with_prompt(history, prompt, config)
        ready_at = len(history) + config.max_delay
        spoken = SpokenText(sampling, config)
        self._sessions[slot] = _Session(sampling, history, ready_at, spoken, earlier_frames, prompt)
        self._timeline.restore(slot, history)

    @property
    def context(self) -> int:
        """Frames that a session looks back on."""
        return self.kv_cache.capacity

    @torch.inference_mode()
    def prefill(self, slot: int, max_frames: int) -> int:
        """Rebuilds at most max_frames of a session's state; returns how many frames are left, 0 when it can step.

        Frames behind a history, whose delayed streams are sampled again, cost a call of their own what they cost a step
        that others take: they wait for one until they are asked for again.
        """
        session = self._sessions[slot]
        if session.prompt is not None and not session.call:
            self._restore_prompt(slot, session, session.prompt)
        end = min(session.call + max_frames, session.ready_at)
        if session.call < session.prompt_frames:
            end = min(end, session.prompt_frames)
        if session.call < len(session.history):
            self._read(slot, session, min(end, len(session.history)))
        elif session.awaits_step or not len(session.history):
            while session.call < end:
                self._advance([slot], [session], self._replayed([session]))
        session.looked_at = session.call
        return session.ready_at - session.call

    @torch.inference_mode()
    def step(self, slots: Sequence[int], user_codes: Tensor) -> ReplyFrames:
        """One frame for the listed sessions; all others keep their state, but for those whose history is read.

        user_codes: int64 [N, n_q - dep_q]. Raises ValueError for a session that is not ready or codes out of range,
        before anything has changed.
        """
        sessions = self._ready(slots)
        check_user_codes(user_codes, len(slots), self._config)
        index, calls = torch.tensor(list(slots)), torch.tensor([session.call for session in sessions])
        self._timeline.give(index, calls, user_codes.cpu())
        replays = {slot: session for slot, session in self._sessions.items() if session.awaits_step}
        forced = None
        if replays:
            unknown = torch.full((len(slots), self._config.generated), UNKNOWN)
            forced = torch.cat((unknown.to(self._lm.device), self._replayed(replays.values())))
        self._advance([*slots, *replays], [*sessions, *replays.values()], forced)
        reply = self._timeline.reply(index, calls)
        return ReplyFrames(reply[:, 0], reply[:, 1:])

    def close(self, slot: int) -> None:
        """Ends a session, if there is one; the slot is as good as new."""
        if self._sessions.pop(slot, None) is not None:
            self.kv_cache.clear(slot)

    def _read(self, slot: int, session: _Session, end: int) -> None:
        """Calls whose tokens are all known: only the Temporal Transformer has something to remember."""
        calls = torch.arange(session.call, end)
        tokens = self._timeline.known_inputs(session.history, calls).to(self._lm.device)
        attention = self.kv_cache.chunk(slot, session.call, len(calls))
        embedded = None if session.prompt is None else session.prompt.embedded(session.call, end)
        self._lm.remember(tokens, calls.to(self._lm.device), attention, embedded)
        first, last = (max(session.prompt_frames, call - self._config.delays[0]) for call in (session.call, end))
        session.spoken.extend(session.history[first:last, 0].tolist())
        session.call = end
        if session.prompt is not None and end == session.prompt_frames <= self.kv_cache.capacity:
            self.prompt_cache.keep(session.prompt.key, self._prompt_places(slot, end))

    def _restore_prompt(self, slot: int, session: _Session, prompt: Prompt) -> None:
        if self.prompt_cache.restore(prompt.key, self._prompt_places(slot, len(prompt.frames))):
            session.call = len(prompt.frames)

    def _prompt_places(self, slot: int, frames: int) -> list[Tensor]:
        """Keys and values of a slot's first frames, where they lie."""
        return [tensor[slot, :, :frames] for tensor in (*self.kv_cache.keys, *self.kv_cache.values)]

    def _replayed(self, sessions: Iterable[_Session]) -> Tensor:
        """Of the next call of each, what the history tells: the delayed streams; the others are sampled to the same."""
        known = [self._timeline.known(session.history, torch.tensor([session.call])) for session in sessions]
        return torch.cat(known)[:, : self._config.generated].to(self._lm.device)

    def _advance(self, slots: Sequence[int], sessions: Sequence[_Session], forced: Tensor | None = None) -> None:
        """One call of each session. forced: int64 [N, generated], tokens not to be sampled where at least 0."""
        calls = [session.call for session in sessions]
        index, positions = torch.tensor(list(slots)), torch.tensor(calls)
        inputs = self._timeline.inputs(index, positions)
        attention = self.kv_cache.step(slots, calls)
        hidden = self._lm.hidden(inputs.to(self._lm.device), positions.to(self._lm.device), attention)
        numbers = [session.earlier_calls + session.call for session in sessions]
        draws = Draws([s.sampling for s in sessions], numbers, self._config.generated, self._lm.device)
        spoken = [session.spoken for session in sessions]
        tokens = self._choose(hidden, draws, spoken, forced).cpu()
        self._timeline.sampled(index, positions, tokens)
        for session, token in zip(sessions, tokens[:, 0].tolist(), strict=True):
            if session.call >= self._config.delays[0]:  # before, it belongs to no frame and no history tells of it
                session.spoken.extend([token])
            session.call += 1

    def _choose(self, hidden: Tensor, draws: Draws, spoken: Sequence[SpokenText], forced: Tensor | None) -> Tensor:
        """hidden: [N, D] -> text and own codes [N, generated]."""

        def unless_forced(stream: int, tokens: Tensor) -> Tensor:
            return tokens if forced is None else torch.where(forced[:, stream] >= 0, forced[:, stream], tokens)

        text = unless_forced(0, draws.text(biased(self._lm.text_logits(hidden), spoken)))
        audio = self._lm.audio(hidden, text, lambda k, logits: unless_forced(1 + k, draws.audio(k, logits)))
        return torch.cat((text[:, None], audio), dim=1)

    def _ready(self, slots: Sequence[int]) -> list[_Session]:
        if len(set(slots)) != len(slots) or not slots:
            raise ValueError(f"slots: expected some, each once, found {list(slots)}")
        for slot in slots:
            if slot not in self._sessions:
                raise ValueError(f"slot {slot} has no session")
            if self._sessions[slot].call < self._sessions[slot].ready_at:
                raise ValueError(f"the session in slot {slot} is not prefilled yet")
        return [self._sessions[slot] for slot in slots]

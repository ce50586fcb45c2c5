"""Session of the world, one call: who says what when, two channels of sound with times of phones, words, turns."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moshi_cluster.audio.frame import FRAME_S, FRAME_SAMPLES, MODEL_RATE_HZ
from moshi_cluster.audio.pcm import Samples
from training.world.callers import CallerVoice, caller_voice
from training.world.exchanges import GREETING, Exchange, Memory, ask, farewell
from training.world.holdout import Split
from training.world.line import CallerLine, caller_line
from training.world.moshi_voice import say
from training.world.phones import NUMBER_OF, SILENCE
from training.world.speech import PHONE_SAMPLES, Span, Speech

GREETING_FRAME = 5
REPLY_FRAMES = (4, 5, 5, 5, 5, 5, 5, 5, 5, 6)  # between the caller's last phone and Moshi's first
STOP_FRAMES = 2  # Moshi is silent this many frames after the one in which a caller talks over it
QUIET_SHARE = 0.08
LONG_REPLY_S = 1.3
LAST_QUESTION_S = 7.0  # before a call's planned end, so that the reply fits
ALONE_GAP_S = (0.45, 0.9)  # between the questions of a caller to whom nobody answers


@dataclass(frozen=True)
class Turn:
    """A question and what Moshi says to it; times in seconds from the call's start.

    A reply that the next question talks over has `interrupted`, and only its words until then as `reply_text`.
    """

    kind: str
    user_text: str
    reply_text: str
    user_start_s: float
    user_end_s: float
    reply_start_s: float
    reply_end_s: float
    interrupts: bool = False
    interrupted: bool = False
    unseen: bool = False


@dataclass(frozen=True)
class SoundSession:
    """A call of N samples at 24 kHz, N a multiple of Mimi's frame.

    user, moshi: int16 [N]; user_phones, moshi_phones: uint8 [N / 480], numbers in `PHONES`;
    words: what Moshi says, with seconds; turns: without the greeting, which every call starts with.
    """

    user: NDArray[np.int16]
    moshi: NDArray[np.int16]
    user_phones: NDArray[np.uint8]
    moshi_phones: NDArray[np.uint8]
    words: tuple[Span, ...]
    turns: tuple[Turn, ...]
    voice: dict[str, Any]

    @property
    def seconds(self) -> float:
        return len(self.user) / MODEL_RATE_HZ


@dataclass
class _Channel:
    """Utterances with the samples at which they start."""

    placed: list[tuple[int, Speech]] = field(default_factory=list)

    def mix(self, samples: int) -> Samples:
        mixed = np.zeros(samples, dtype=np.float32)
        for start, speech in self.placed:
            mixed[start : start + len(speech.samples)] += speech.samples
        return mixed

    def phones(self, samples: int) -> NDArray[np.uint8]:
        labels = np.full(samples // PHONE_SAMPLES, NUMBER_OF[SILENCE], dtype=np.uint8)
        centres_s = (np.arange(len(labels)) + 0.5) * PHONE_SAMPLES / MODEL_RATE_HZ
        for start, speech in self.placed:
            for phone in speech.phones:
                inside = (centres_s >= phone.start_s + start / MODEL_RATE_HZ) & (
                    centres_s < phone.end_s + start / MODEL_RATE_HZ
                )
                labels[inside] = NUMBER_OF[phone.label]
        return labels

    def words(self) -> tuple[Span, ...]:
        return tuple(
            Span(word.label, start / MODEL_RATE_HZ + word.start_s, start / MODEL_RATE_HZ + word.end_s)
            for start, speech in self.placed
            for word in speech.words
        )


class _Call:
    """A call while it is made up: every utterance follows from the ones before it."""

    def __init__(self, seed: int, split: Split) -> None:
        self.random = Random(f"{split} {seed}")
        self.split = split
        self.caller: CallerVoice = caller_voice(self.random, split)
        self.line: CallerLine = caller_line(self.random, split)
        self.noise_seed = self.random.getrandbits(63)
        self.user, self.moshi = _Channel(), _Channel()
        self.turns: list[Turn] = []
        self.end_s = 0.0  # of everything said so far
        self.talks_over_at_s: float | None = None  # when the next question starts, if it does not wait

    def hold(self) -> None:
        """The whole call, from the greeting on."""
        self._speak(GREETING, GREETING_FRAME)
        if self.random.random() < QUIET_SHARE:
            self.end_s += self.random.uniform(6, 14)
            return
        planned_s, memory = self.random.uniform(20, 28), Memory()
        while self.end_s < planned_s - LAST_QUESTION_S or self.talks_over_at_s is not None:
            self._exchange(ask(self.random, self.split, memory))
        if self.random.random() < 0.35:
            self._exchange(farewell())
        self.end_s += self.random.uniform(0.8, 2.4)

    def talk_alone(self) -> None:
        """Question after question, to a Moshi that never says anything."""
        planned_s, memory = self.random.uniform(8, 20), Memory()
        while self.end_s < planned_s:
            exchange = ask(self.random, self.split, memory)
            start_s, end_s = self._ask(exchange, self.end_s + self.random.uniform(*ALONE_GAP_S))
            self.turns.append(Turn(exchange.kind, " ".join(exchange.question), "", start_s, end_s, end_s, end_s))
            self.end_s = end_s
        self.end_s += ALONE_GAP_S[1]

    def _exchange(self, exchange: Exchange) -> None:
        interrupts = self.talks_over_at_s is not None
        start_s = self.talks_over_at_s if self.talks_over_at_s is not None else self.end_s + self._gap_s()
        self.talks_over_at_s = None
        user_start_s, user_end_s = self._ask(exchange, start_s)
        if interrupts:
            self._stop_moshi(user_start_s)
        frame = math.ceil(user_end_s / FRAME_S) + self.random.choice(REPLY_FRAMES)
        reply = self._speak(exchange.reply, frame)
        self.turns.append(
            Turn(
                kind=exchange.kind,
                user_text=" ".join(exchange.question),
                reply_text=exchange.reply,
                user_start_s=user_start_s,
                user_end_s=user_end_s,
                reply_start_s=frame * FRAME_S,
                reply_end_s=self.end_s,
                interrupts=interrupts,
                unseen=exchange.unseen,
            )
        )
        self._maybe_talk_over(exchange, frame * FRAME_S, reply)

    def _ask(self, exchange: Exchange, start_s: float) -> tuple[float, float]:
        """Seconds at which the first phone of the question begins and the last one ends."""
        question = self._question(exchange)
        start = round(start_s * MODEL_RATE_HZ)
        self.user.placed.append((start, question))
        first_s, last_s = question.voiced
        return start / MODEL_RATE_HZ + first_s, start / MODEL_RATE_HZ + last_s

    def _speak(self, text: str, frame: int) -> Speech:
        speech = say(text)
        self.moshi.placed.append((frame * FRAME_SAMPLES, speech))
        self.end_s = frame * FRAME_S + len(speech.samples) / MODEL_RATE_HZ
        return speech

    def _gap_s(self) -> float:
        return self.random.uniform(2.0, 4.0) if self.random.random() < 0.1 else self.random.uniform(0.3, 1.3)

    def _maybe_talk_over(self, exchange: Exchange, reply_start_s: float, reply: Speech) -> None:
        length_s = len(reply.samples) / MODEL_RATE_HZ
        share = 0.65 if exchange.kind == "list" else 0.06
        if exchange.kind != "farewell" and length_s > LONG_REPLY_S and self.random.random() < share:
            # At least half a second of the reply is never said: otherwise nothing shows that Moshi stopped.
            self.talks_over_at_s = reply_start_s + self.random.uniform(0.4, length_s - 0.8)

    def _stop_moshi(self, user_start_s: float) -> None:
        """What Moshi was saying ends on a frame's edge; the words that had begun by then stay."""
        start, speech = self.moshi.placed.pop()
        stop_s = (math.floor(user_start_s / FRAME_S) + STOP_FRAMES) * FRAME_S
        kept = speech.cut(0.0, stop_s - start / MODEL_RATE_HZ)
        fade = min(240, len(kept.samples))
        samples = kept.samples.copy()
        samples[len(samples) - fade :] *= np.linspace(1, 0, fade, dtype=np.float32)
        self.moshi.placed.append((start, Speech(samples, MODEL_RATE_HZ, kept.phones, kept.words)))
        last = asdict(self.turns.pop())
        said = " ".join(word.label for word in kept.words)
        self.turns.append(Turn(**last | {"reply_text": said, "reply_end_s": stop_s, "interrupted": True}))

    def _question(self, exchange: Exchange) -> Speech:
        """Said in one go, or with a pause between two parts, which may hold an "um"."""
        parts = exchange.question
        if len(parts) == 1 or self.random.random() > 0.2:
            return self.caller.say(" ".join(parts))
        said = [parts[0], *(("um",) if self.random.random() < 0.4 else ()), *parts[1:]]
        pieces = [self.caller.say(piece) for piece in said]
        return _joined(pieces, [self.random.uniform(0.15, 0.45) for _ in pieces[1:]])


def generate(seed: int, split: Split) -> SoundSession:
    """The call of this number. The same seed, split and synthesisers give the same call."""
    call = _Call(seed, split)
    call.hold()
    return _recorded(call)


def monologue(seed: int) -> SoundSession:
    """A caller of the training asks, Moshi is silent: speech to learn to hear by, and nothing else."""
    call = _Call(seed, "train")
    call.talk_alone()
    return _recorded(call)


def _recorded(call: _Call) -> SoundSession:
    samples = math.ceil(call.end_s / FRAME_S) * FRAME_SAMPLES
    return SoundSession(
        user=call.line.carry(call.user.mix(samples), call.noise_seed),
        moshi=np.round(call.moshi.mix(samples) * 32767).astype(np.int16),
        user_phones=call.user.phones(samples),
        moshi_phones=call.moshi.phones(samples),
        words=call.moshi.words(),
        turns=tuple(call.turns),
        voice={"caller": call.caller.settings(), "line": call.line.settings()},
    )


def _joined(pieces: list[Speech], pauses_s: list[float]) -> Speech:
    samples: list[Samples] = []
    phones: list[Span] = []
    at = 0
    for piece, pause_s in zip(pieces, [*pauses_s, 0.0], strict=True):
        shift_s = at / MODEL_RATE_HZ
        phones += [Span(label, start + shift_s, end + shift_s) for label, start, end in piece.phones]
        samples += [piece.samples, np.zeros(round(pause_s * MODEL_RATE_HZ), dtype=np.float32)]
        at += len(samples[-1]) + len(samples[-2])
    return Speech(np.concatenate(samples), MODEL_RATE_HZ, tuple(phones))

"""A demo call by a recorded caller: shows questions and answers as they come, and keeps both voices."""

from __future__ import annotations

import asyncio
import wave
from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from moshi_cluster.audio.frame import MODEL_RATE_HZ
from moshi_cluster.audio.g711 import G711_RATE_HZ, decode_mulaw
from moshi_cluster.audio.resample import Resampler
from moshi_cluster.clients.cli.converse import CallScript, Listener, converse
from moshi_cluster.clients.cli.talk.wav import columns
from moshi_cluster.clients.telephony.wire_formats import ENCODINGS, from_wire, to_s16
from moshi_cluster.cluster.columns import Columns
from moshi_cluster.cluster.recorded_callers import RecordedCaller
from moshi_cluster.v1 import common_pb2, gateway_pb2

PACKET_MS = 20
_PAUSE_S = 0.9  # longer than between any two words of an answer
_START = gateway_pb2.Start(
    input_format=gateway_pb2.AudioFormat(encoding=ENCODINGS["mulaw"], sample_rate_hz=G711_RATE_HZ),
    output_format=gateway_pb2.AudioFormat(encoding=ENCODINGS["s16le"], sample_rate_hz=MODEL_RATE_HZ),
    reply_packet_ms=PACKET_MS,
    sampling=common_pb2.Sampling(seed=1),
)


@dataclass
class Answered:
    """A question of the call, None for what comes before the first, and what Moshi said after it."""

    turn: Mapping[str, Any] | None
    said: str = ""

    @property
    def counts(self) -> bool:
        """Whether there is one right answer; where exactly an interrupted one ends is neither right nor wrong."""
        return self.turn is not None and not self.turn["interrupted"]

    @property
    def right(self) -> bool:
        return self.turn is not None and self.said.strip() == self.turn["reply_text"]


@dataclass
class DemoCall(Listener):
    """A call from its first packet to its end."""

    number: int
    recording: RecordedCaller
    view: Columns
    answers: list[Answered] = field(default_factory=lambda: [Answered(None)])
    _unshown: str = ""
    _timers: list[asyncio.TimerHandle] = field(default_factory=list)
    _pause: asyncio.TimerHandle | None = None

    async def hold(self, target: str, output: Path) -> None:
        """The whole call; output: where both voices go. Raises CallError, OSError."""
        call = CallScript(_START, self.recording.packets(PACKET_MS), PACKET_MS / 1000)
        try:
            reply = await converse(target, call, self)
        finally:
            for timer in self._timers:
                timer.cancel()
        self._show_answer()
        write_both(output, self.recording.mu_law, from_wire(bytes(reply.audio), "s16le"))

    def started(self, started: gateway_pb2.Started) -> None:
        """Questions are shown when they have been asked."""
        loop = asyncio.get_running_loop()
        self._timers = [loop.call_later(turn["user_end_s"], self._asked, turn) for turn in self.recording.turns]

    def text(self, piece: str) -> None:
        """Answers are shown when a pause follows."""
        self._unshown += piece
        self.answers[-1].said += piece
        if self._pause is not None:
            self._pause.cancel()
        self._pause = asyncio.get_running_loop().call_later(_PAUSE_S, self._show_answer)
        self._timers.append(self._pause)

    def _asked(self, turn: Mapping[str, Any]) -> None:
        self._show_answer()
        self.answers.append(Answered(turn))
        self.view.caller(self.number, turn["user_text"])

    def _show_answer(self) -> None:
        if self._unshown.strip():
            self.view.moshi(self.number, self._unshown.strip())
        self._unshown = ""


def write_both(path: Path, mu_law: bytes, moshi: array[int]) -> None:
    """The caller on the left, Moshi on the right. Raises OSError."""
    narrow = decode_mulaw(mu_law)
    resampler = Resampler(G711_RATE_HZ, MODEL_RATE_HZ)
    wide = np.concatenate([resampler.push(narrow), resampler.flush()])[resampler.delay_samples :]
    length = min(len(wide), len(moshi))
    caller = to_s16(wide[:length])
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(MODEL_RATE_HZ)
        file.writeframes(columns(caller, moshi[:length]).tobytes())

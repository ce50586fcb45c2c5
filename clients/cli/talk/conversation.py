"""A whole conversation: the caller's voice to the gateway, Moshi's to the loudspeaker, everything to who looks on."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from dataclasses import dataclass, field

from moshi_cluster.audio.frame import MODEL_RATE_HZ
from moshi_cluster.clients.cli.talk.connection import (
    Connection,
    Heard,
    Notice,
    QueuePosition,
    Ready,
    Stats,
    Voice,
    Words,
)
from moshi_cluster.clients.cli.talk.delay import Delay
from moshi_cluster.clients.cli.talk.levels import LevelMeter
from moshi_cluster.clients.cli.talk.sound import Block, Sound
from moshi_cluster.clients.cli.talk.wav import WavWriter, columns
from moshi_cluster.clients.telephony.playback import PlaybackBuffer

HANG_UP_TIMEOUT_S = 10.0
_NOTICES = 4


@dataclass
class State:
    """The state of a conversation: everything there is to show."""

    target: str  # for people
    phase: str = "connecting"
    session_id: str = ""
    text: str = ""
    said: int = 0  # samples
    heard: int = 0  # samples that came back
    latency_ms: dict[str, float] = field(default_factory=dict)
    counters: dict[str, int] = field(default_factory=dict)
    notices: deque[str] = field(default_factory=lambda: deque(maxlen=_NOTICES))
    mine: LevelMeter = field(default_factory=LevelMeter)
    moshi: LevelMeter = field(default_factory=LevelMeter)
    delay: Delay = field(default_factory=Delay)
    playback: PlaybackBuffer = field(default_factory=PlaybackBuffer)

    @property
    def seconds(self) -> float:
        """Seconds since the beginning, by the microphone's clock."""
        return self.said / MODEL_RATE_HZ


@dataclass(frozen=True)
class Recorders:
    """Recordings that grow while the conversation runs."""

    moshi: WavWriter | None = None  # everything that came back
    both: WavWriter | None = None  # stereo, as it was heard here: the caller left, Moshi right


async def hold(connection: Connection, sound: Sound, state: State, recorders: Recorders) -> None:
    """Holds a conversation until everything said is answered. Raises CallError, NoSound, BadInput."""
    ready = asyncio.Event()
    listening = asyncio.create_task(_listen(connection, state, recorders, ready))
    speaking = asyncio.create_task(_speak(connection, sound, state, recorders, ready))
    try:
        await asyncio.wait({listening, speaking}, return_when=asyncio.FIRST_COMPLETED)
        if speaking.done() and speaking.exception() is None:
            await asyncio.wait({listening}, timeout=HANG_UP_TIMEOUT_S)
        for task in (speaking, listening):
            if task.done():
                task.result()
    finally:
        sound.stop()
        for task in (speaking, listening):
            task.cancel()
        await asyncio.gather(speaking, listening, return_exceptions=True)
    state.phase = "ended"


async def _speak(
    connection: Connection, sound: Sound, state: State, recorders: Recorders, ready: asyncio.Event
) -> None:
    await ready.wait()
    async with contextlib.aclosing(sound.blocks(state.playback)) as blocks:
        async for block in blocks:
            await connection.say(block.said)
            _note(block, state)
            if recorders.both is not None:
                recorders.both.write(columns(block.said, block.played))
    state.phase = "hanging up"
    await connection.hang_up()


async def _listen(connection: Connection, state: State, recorders: Recorders, ready: asyncio.Event) -> None:
    async with contextlib.aclosing(connection.hear()) as heard:
        async for item in heard:
            _take(item, state)
            if isinstance(item, Ready):
                ready.set()
            elif isinstance(item, Voice) and recorders.moshi is not None:
                recorders.moshi.write(item.samples)


def _note(block: Block, state: State) -> None:
    state.said += len(block.said)
    state.mine.push(block.said)
    state.moshi.push(block.played)
    state.delay.observe(state.said, state.playback.played + state.playback.dropped)


def _take(item: Heard, state: State) -> None:
    match item:
        case Ready(session_id):
            state.phase, state.session_id = "talking", session_id
            state.delay.begin(state.said - state.heard)
        case Voice(samples):
            state.heard += len(samples)
            state.playback.push(samples)
        case Words(piece):
            state.text += piece
        case Stats(latency_ms, counters):
            state.latency_ms |= latency_ms
            state.counters |= counters
            state.delay.note_counters(state.counters)
        case QueuePosition(position, waiting):
            state.phase = f"waiting in line: {position} of {waiting}" if position else "our turn has come"
        case Notice(text):
            state.notices.append(text)

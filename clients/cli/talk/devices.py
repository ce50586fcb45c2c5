"""Microphone and loudspeaker, through PortAudio."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
from array import array
from collections import deque
from collections.abc import AsyncGenerator, Iterator
from typing import Any

from moshi_cluster.audio.frame import MODEL_RATE_HZ
from moshi_cluster.clients.cli.talk.sound import BLOCK_S, BLOCK_SAMPLES, Block
from moshi_cluster.clients.telephony.playback import PlaybackBuffer

_MAX_WAITING = round(1.0 / BLOCK_S)  # what was said a second ago and has not left is no conversation
_LOST_AFTER_S = 3.0  # without a block: somebody pulled the plug


class NoSound(Exception):
    """There is no microphone or loudspeaker to use; the message says why, and what to do instead."""

    def __init__(self, reason: object) -> None:
        super().__init__(
            f"no microphone and loudspeaker: {reason}\nFiles work without: --input QUESTION.wav --output REPLY.wav"
        )


class DeviceSound:
    """Two devices of this machine, by number or part of the name; None: the system's choice. Raises NoSound."""

    def __init__(self, microphone: str | None = None, loudspeaker: str | None = None) -> None:
        self._library = _portaudio()
        self._devices = _device(microphone), _device(loudspeaker)
        wanted = {"channels": 1, "dtype": "int16", "samplerate": MODEL_RATE_HZ}
        try:
            self._library.check_input_settings(self._devices[0], **wanted)
            self._library.check_output_settings(self._devices[1], **wanted)
        except (self._library.PortAudioError, ValueError) as error:
            raise NoSound(error) from error
        self._stopped = False
        self._woken = asyncio.Event()

    async def blocks(self, playback: PlaybackBuffer) -> AsyncGenerator[Block, None]:
        """See Sound. Raises NoSound when the devices do not start, or stop by themselves."""
        waiting: deque[Block] = deque(maxlen=_MAX_WAITING)
        loop = asyncio.get_running_loop()

        def exchange(said: Any, played: Any, frames: int, _time: Any, _status: Any) -> None:  # on PortAudio's thread
            block = Block(array("h", bytes(said)), playback.pull(frames))
            played[:] = block.played.tobytes()
            waiting.append(block)
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(self._woken.set)

        with self._running(exchange):
            while not self._stopped:
                await self._until_woken()
                for _ in range(len(waiting)):
                    yield waiting.popleft()
                await asyncio.sleep(0)  # some devices know no clock: whoever else runs here, runs

    def stop(self) -> None:
        """See Sound."""
        self._stopped = True
        self._woken.set()

    async def _until_woken(self) -> None:
        try:
            async with asyncio.timeout(_LOST_AFTER_S):
                await self._woken.wait()
        except TimeoutError:
            raise NoSound(f"nothing came from the sound device for {_LOST_AFTER_S:g} s") from None
        self._woken.clear()

    @contextlib.contextmanager
    def _running(self, callback: Any) -> Iterator[None]:
        wanted = {"channels": 1, "dtype": "int16", "latency": "low", "callback": callback}
        try:
            stream = self._library.RawStream(MODEL_RATE_HZ, BLOCK_SAMPLES, self._devices, **wanted)
            stream.start()
        except self._library.PortAudioError as error:
            raise NoSound(error) from error
        try:
            yield
        finally:
            stream.close()


def list_devices() -> str:
    """The sound devices of this machine, a table for people. Raises NoSound."""
    return str(_portaudio().query_devices())


def _portaudio() -> Any:
    try:
        return importlib.import_module("sounddevice")
    except ImportError as error:
        raise NoSound("the package sounddevice is missing (pip install '.[talk]')") from error
    except OSError as error:  # the package is there, the system's library is not
        raise NoSound(f"{error} (Debian: apt-get install libportaudio2)") from error


def _device(given: str | None) -> int | str | None:
    return int(given) if given is not None and given.isdecimal() else given

"""Microphone and loudspeaker, with a stand-in for PortAudio."""

from __future__ import annotations

import asyncio
import sys
import threading
from array import array
from types import SimpleNamespace
from typing import Any

import pytest

from moshi_cluster.clients.cli.talk import devices
from moshi_cluster.clients.cli.talk.devices import DeviceSound, NoSound
from moshi_cluster.clients.telephony.playback import PlaybackBuffer


class FakeStream:
    """Calls back 20 times from a thread of its own, with numbered blocks."""

    def __init__(self, rate_hz: int, block: int, devices: Any, **settings: Any) -> None:
        self.settings, self.block, self.played = settings, block, bytearray()
        FakeStream.last = self

    last: FakeStream

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def close(self) -> None:
        self._thread.join()

    def _run(self) -> None:
        for number in range(20):
            heard = bytearray(2 * self.block)
            said = array("h", [number] * self.block).tobytes()
            self.settings["callback"](memoryview(said), memoryview(heard), self.block, None, None)
            self.played += heard


class FakePortAudioError(Exception):
    pass


def refuse(*_: Any, **__: Any) -> None:
    raise FakePortAudioError("Error querying device -1")


@pytest.fixture
def portaudio(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    library = SimpleNamespace(
        PortAudioError=FakePortAudioError,
        RawStream=FakeStream,
        check_input_settings=lambda *_, **__: None,
        check_output_settings=lambda *_, **__: None,
    )
    monkeypatch.setitem(sys.modules, "sounddevice", library)
    return library


@pytest.mark.usefixtures("portaudio")
async def test_what_is_said_arrives_in_order_and_what_is_queued_is_played() -> None:
    playback = PlaybackBuffer()
    playback.push(array("h", [500] * 2000))
    sound, blocks = DeviceSound(), []
    async for block in sound.blocks(playback):
        blocks.append(block)
        if len(blocks) == 20:
            sound.stop()
    assert [block.said[0] for block in blocks] == list(range(20))
    assert b"".join(block.played.tobytes() for block in blocks) == bytes(FakeStream.last.played)
    assert max(array("h", bytes(FakeStream.last.played))) == 500


def test_no_device_is_said_and_files_are_offered(portaudio: SimpleNamespace) -> None:
    portaudio.check_input_settings = refuse
    with pytest.raises(NoSound, match=r"Error querying device -1\nFiles work without: --input"):
        DeviceSound()


async def test_a_device_that_does_not_start_is_said(portaudio: SimpleNamespace) -> None:
    portaudio.RawStream = refuse
    with pytest.raises(NoSound, match="Error querying"):
        await anext(DeviceSound().blocks(PlaybackBuffer()))


async def test_a_device_that_is_busy_when_it_should_start_is_said(
    portaudio: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeStream, "start", refuse)
    with pytest.raises(NoSound, match="Error querying"):
        await anext(DeviceSound().blocks(PlaybackBuffer()))


@pytest.mark.usefixtures("portaudio")
async def test_a_device_that_falls_silent_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "_LOST_AFTER_S", 0.05)
    with pytest.raises(NoSound, match="nothing came from the sound device"):
        async for _ in DeviceSound().blocks(PlaybackBuffer()):
            pass


class Hasty(FakeStream):
    """ALSA's `null` device: as fast as the machine can."""

    def _run(self) -> None:
        self.over = False
        while not self.over:
            super()._run()

    def close(self) -> None:
        self.over = True
        super().close()


async def test_a_device_without_a_clock_lets_others_run(portaudio: SimpleNamespace) -> None:
    portaudio.RawStream = Hasty
    sound = DeviceSound()
    asyncio.get_running_loop().call_later(0.05, sound.stop)
    async for _ in sound.blocks(PlaybackBuffer()):
        pass


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(NoSound, match=r"package sounddevice is missing \(pip install '\.\[talk\]'\)"):
        DeviceSound()

"""Moshi's own Python client, unmodified, without a sound card. Runs where its package is installed, not in our tests:

    python upstream_client.py PORT SECONDS WAV

A WAV of 16 bit mono at 24 kHz is spoken into its microphone callback, over and over; what reaches its speaker callback
and its printer is summed up on stdout as JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import sys
import threading
import time
import types
import wave
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Block = npt.NDArray[np.float32]

RATE_HZ, BLOCK_SAMPLES = 24_000, 1_920


class _Stream:
    """Calls back once per block in a thread, as PortAudio does."""

    def __init__(self, callback: Callable[[Block, int, None, None], None], **settings: Any) -> None:
        assert (settings["samplerate"], settings["blocksize"], settings["channels"]) == (RATE_HZ, BLOCK_SAMPLES, 1)
        self._callback = callback
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        due_s = time.monotonic()
        while not self._over.is_set():
            due_s += BLOCK_SAMPLES / RATE_HZ
            self._over.wait(max(0.0, due_s - time.monotonic()))
            self._block()

    def _block(self) -> None:
        raise NotImplementedError


class _Microphone(_Stream):
    voice: Block = np.zeros(0, dtype=np.float32)
    said = 0

    def _block(self) -> None:
        at = np.arange(_Microphone.said, _Microphone.said + BLOCK_SAMPLES) % self.voice.size
        _Microphone.said += BLOCK_SAMPLES
        self._callback(self.voice[at][:, None], BLOCK_SAMPLES, None, None)


class _Speaker(_Stream):
    heard: list[Block]

    def _block(self) -> None:
        block = np.zeros((BLOCK_SAMPLES, 1), dtype=np.float32)
        self._callback(block, BLOCK_SAMPLES, None, None)
        self.heard.append(block[:, 0].copy())


def main(port: int, seconds: float, wav: str) -> None:
    stand_in: Any = types.SimpleNamespace(InputStream=_Microphone, OutputStream=_Speaker)
    sys.modules["sounddevice"] = stand_in
    _Speaker.heard = []
    from moshi import client
    from moshi.client_utils import RawPrinter

    with wave.open(wav) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32)
    _Microphone.voice = samples / np.float32(32768)
    text, log = io.StringIO(), io.StringIO()
    arguments = argparse.Namespace(host="127.0.0.1", port=port, https=False, url=None)

    async def talk() -> None:
        try:
            async with asyncio.timeout(seconds):
                await client.run(RawPrinter(text, log), arguments)
        except TimeoutError:
            pass

    asyncio.run(talk())
    heard = np.stack(_Speaker.heard)
    sounding = np.abs(heard).max(axis=1) > 0
    summary = {
        "blocks_said": _Microphone.said // BLOCK_SAMPLES,
        "blocks_played": int(sounding.sum()),
        "first_block": int(sounding.argmax()),
        "lags": log.getvalue().count("[LAG]"),
        "lags_after_first": int((~sounding[sounding.argmax() :]).sum()),
        "text": text.getvalue(),
        "log": log.getvalue().replace("\033[31m [LAG]\033[0m", "").splitlines(),
    }
    print(json.dumps(summary))


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3])

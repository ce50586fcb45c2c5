"""LiveKit's plugin for PersonaPlex, unmodified, holds a conversation. Run by an interpreter that has it.

Arguments: address of the gateway's HTTP port, voice, role, seconds. Prints one line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from typing import Any

import aiohttp
import numpy as np
from livekit import rtc
from livekit.plugins.nvidia.experimental.realtime import RealtimeModel

RATE_HZ, FRAME_SAMPLES = 24_000, 1_920


class Remarks(logging.Handler):
    """What the plugin complains of."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


async def talk(address: str, voice: str, role: str, seconds: float) -> dict[str, Any]:
    heard: dict[str, Any] = {"samples": 0, "loudest": 0, "words": "", "errors": []}
    taking: set[asyncio.Task[None]] = set()

    async def take_sound(message: Any) -> None:
        async for frame in message.audio_stream:
            heard["samples"] += frame.samples_per_channel
            heard["loudest"] = max(heard["loudest"], int(np.abs(np.frombuffer(frame.data, np.int16)).max()))

    async def take_words(message: Any) -> None:
        async for piece in message.text_stream:
            heard["words"] += piece

    async def take(generation: Any) -> None:
        async for message in generation.message_stream:
            await asyncio.gather(take_sound(message), take_words(message))

    async with aiohttp.ClientSession() as http:
        model = RealtimeModel(base_url=f"ws://{address}", http_session=http, voice=voice, text_prompt=role, seed=7)
        session = model.session()
        session.on("generation_created", lambda made: taking.add(asyncio.create_task(take(made))))
        session.on("error", lambda error: heard["errors"].append(str(error.error)))
        tone = (8000 * np.sin(np.arange(FRAME_SAMPLES) * 0.15)).astype(np.int16).tobytes()
        for _ in range(round(seconds * RATE_HZ / FRAME_SAMPLES)):
            session.push_audio(rtc.AudioFrame(tone, RATE_HZ, 1, FRAME_SAMPLES))
            await asyncio.sleep(FRAME_SAMPLES / RATE_HZ)
        await session.aclose()
        await asyncio.wait(taking, timeout=5) if taking else None
    return heard


if __name__ == "__main__":
    remarks = Remarks()
    logging.getLogger().addHandler(remarks)
    where, voice, role, seconds = sys.argv[1:]
    print(json.dumps(asyncio.run(talk(where, voice, role, float(seconds))) | {"remarks": remarks.lines}))

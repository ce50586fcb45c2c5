"""Client mix: pages and phones on one cluster at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from benchmarks.chat.client_trace import Story
from benchmarks.chat.page_client import PageClient, voice_messages
from benchmarks.chat.phone_client import PhoneClient
from moshi_cluster.clients.cli.recording import read_wav

_APART_S = 0.3  # so that it is clear who came first


class Client(Protocol):
    """One of the crowd."""

    story: Story

    async def run(self, start_s: float) -> Story:
        """Its whole conversation. start_s: the crowd's beginning on the loop's clock."""


def protocol_clients(
    grpc_target: str, url: str, recording: Path, pages: int, phones: int, frames: int, patience_s: float
) -> list[Client]:
    """Phones first: they are refused where pages wait. recording: mono, 24 kHz. Raises AudioError."""
    samples = read_wav(recording).samples
    voice = voice_messages(samples, frames)
    callers: list[Client] = [PhoneClient(f"phone {n}", grpc_target, samples, frames) for n in range(phones)]
    return callers + [PageClient(f"page {n}", url, voice, patience_s) for n in range(pages)]


async def gather(clients: Sequence[Client]) -> list[Story]:
    """Everybody comes in this order, a moment apart, and stays until done."""
    start_s = asyncio.get_running_loop().time()

    async def come(place: int, client: Client) -> Story:
        await asyncio.sleep(place * _APART_S)
        return await client.run(start_s)

    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(come(place, client)) for place, client in enumerate(clients)]
    return [task.result() for task in running]

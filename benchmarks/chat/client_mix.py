"""Client mix: pages and phones on one cluster at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from benchmarks.chat.client_trace import ClientTrace
from benchmarks.chat.page_client import PageClient, voice_messages
from benchmarks.chat.phone_client import PhoneClient
from moshi_cluster.clients.cli.recording import read_wav

_APART_S = 0.3  # so that it is clear who came first


class Client(Protocol):
    """Client of a mix."""

    trace: ClientTrace

    async def run(self, start_s: float) -> ClientTrace:
        """Its whole conversation. start_s: the run's beginning on the loop's clock."""


def protocol_clients(
    grpc_target: str, url: str, recording: Path, pages: int, phones: int, frames: int, patience_s: float
) -> list[Client]:
    """Phones first: they are refused where pages wait. recording: mono, 24 kHz. Raises BadInput."""
    samples = read_wav(recording).samples
    voice = voice_messages(samples, frames)
    callers: list[Client] = [PhoneClient(f"phone {n}", grpc_target, samples, frames) for n in range(phones)]
    return callers + [PageClient(f"page {n}", url, voice, patience_s) for n in range(pages)]


async def gather(clients: Sequence[Client]) -> list[ClientTrace]:
    """Everybody comes in this order, a moment apart, and stays until done."""
    start_s = asyncio.get_running_loop().time()

    async def join(number: int, client: Client) -> ClientTrace:
        await asyncio.sleep(number * _APART_S)
        return await client.run(start_s)

    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(join(number, client)) for number, client in enumerate(clients)]
    return [task.result() for task in running]

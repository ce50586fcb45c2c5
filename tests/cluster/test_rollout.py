"""Workers are replaced while new calls come: none is refused, whether there are two or one follows the other."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import grpc
import pytest

from moshi_cluster.cluster.local_cluster import Layout, LocalCluster
from moshi_cluster.cluster.ports import free_ports
from tests.cluster.callers import Line, open_call, until
from tests.cluster.conftest import PATIENT
from tests.services.gateway.cluster import gateway
from tests.services.gateway.workers.test_names import LOOPBACK, Names

pytestmark = pytest.mark.cluster

LINE = Line("mulaw", 8_000)
SECOND = (socket.AF_INET, "127.0.0.2")
SLOTS = 8


class NewCalls:
    """Calls that begin, one after the other, and end at once."""

    def __init__(self) -> None:
        self.begun = 0
        self.refused: list[str] = []

    @contextlib.asynccontextmanager
    async def coming(self, channel: grpc.aio.Channel) -> AsyncIterator[None]:
        """Several at a time, for as long as the context lasts."""
        callers = [asyncio.create_task(self._call(channel)) for _ in range(3)]
        try:
            await until(self._more_than(0))
            yield
        finally:
            for caller in callers:
                caller.cancel()
            await asyncio.gather(*callers, return_exceptions=True)

    async def some_more(self) -> None:
        """Returns once several others have begun."""
        await until(self._more_than(self.begun + 6))

    def _more_than(self, count: int) -> Callable[[], Awaitable[bool]]:
        async def more() -> bool:
            return self.begun + len(self.refused) > count

        return more

    async def _call(self, channel: grpc.aio.Channel) -> None:
        while True:
            try:
                (await open_call(channel, LINE)).cancel()
                self.begun += 1
            except grpc.aio.AioRpcError as error:
                self.refused.append(f"{error.code().name}: {error.details()}")
            await asyncio.sleep(0.05)


@pytest.fixture
def pairs(checkpoint: Path) -> Iterator[LocalCluster]:
    """Two workers of each kind."""
    with LocalCluster(Layout(str(checkpoint), codec_workers=2, lm_workers=2, slots=SLOTS), PATIENT) as running:
        yield running


async def test_of_two_workers_one_after_the_other_is_replaced_and_no_new_call_is_refused(pairs: LocalCluster) -> None:
    calls = NewCalls()
    async with grpc.aio.insecure_channel(pairs.address()) as channel, calls.coming(channel):
        for name in ("lm-0", "lm-1", "codec-0", "codec-1"):
            before = _times_up(pairs, name)
            pairs.signal(name, signal.SIGTERM)
            assert await asyncio.to_thread(pairs.wait, name, 30.0) == 0
            await calls.some_more()
            pairs.start(name)
            await asyncio.to_thread(pairs.wait_until_serving)
            await until(lambda name=name, before=before: _is_up_again(pairs, name, before))
            await calls.some_more()
    assert not calls.refused


async def _is_up_again(cluster: LocalCluster, name: str, before: int) -> bool:
    return _times_up(cluster, name) > before


def _times_up(cluster: LocalCluster, name: str) -> int:
    lines = cluster.process("gateway-0").log_lines()
    return sum(f"worker up address={cluster.address(name)}" in line for line in lines)


@pytest.mark.parametrize("service", ["codec", "lm"])
async def test_when_the_only_worker_is_replaced_under_its_name_no_new_call_is_refused(
    service: str, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a Deployment of one replica does it: the new one serves, the old one is told to stop, and the name moves to
    the new one some time later.
    """
    port = free_ports(1)[0]
    old, new = (_cluster(checkpoint, service, host, port) for host in ("127.0.0.1", "127.0.0.2"))
    calls, name = NewCalls(), f"{service}-0"
    with old, _started(new, name):
        targets = [f"{each}.internal:{old.address(f'{each}-0').rpartition(':')[2]}" for each in ("codec", "lm")]
        names = Names(monkeypatch)
        names.answer = [LOOPBACK]
        async with gateway(targets[:1], targets[1:]) as (*_, listener), calls.coming(listener.channel):
            old.signal(name, signal.SIGTERM)
            await calls.some_more()
            assert old.running(name), "there is no other"
            names.answer = [LOOPBACK, SECOND]
            assert await asyncio.to_thread(old.wait, name, 30.0) == 0
            await calls.some_more()
    assert not calls.refused


def _cluster(checkpoint: Path, service: str, host: str, port: int) -> LocalCluster:
    """A codec and an lm, of which one has the given address, and lingers for longer than the test lasts."""
    prefix = f"MOSHI_{service.upper()}_"
    place = {f"{prefix}HOST": host, f"{prefix}PORT": str(port)}
    long = {f"{prefix}DRAIN_LINGER_S": "300", f"{prefix}DRAIN_GRACE_S": "600"}
    return LocalCluster(Layout(str(checkpoint), gateways=0, slots=SLOTS), place | long)


@contextlib.contextmanager
def _started(cluster: LocalCluster, name: str) -> Iterator[None]:
    try:
        cluster.start(name)
        cluster.wait_until_serving()
        yield
    finally:
        cluster.stop()

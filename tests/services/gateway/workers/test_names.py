"""Names of workers: found, lost, unknown for a while; and what that means to calls."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence

import pytest

from moshi_cluster.services.common.errors import Unavailable
from moshi_cluster.services.gateway.workers.names import TargetNames
from moshi_cluster.v1 import codec_pb2
from tests.services.fake_workers import pcm_frame
from tests.services.gateway.cluster import EchoCodec
from tests.services.gateway.workers.test_pool import StandingStill, address_of, known, until_all_report, watching
from tests.services.in_process import eventually, serving

pytestmark = pytest.mark.usefixtures("nothing_swallowed")

ENCODE = "/moshi_cluster.v1.Codec/Encode"
LOOPBACK = (socket.AF_INET, "127.0.0.1")
GONE = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
FAILURES = [
    socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"),
    OSError("no name service"),
    UnicodeError("label too long"),
]


class Names:
    """What the event loop's look-ups say."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answer: Sequence[tuple[int, str]] | Exception = []
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", self._getaddrinfo)

    async def _getaddrinfo(self, host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        if isinstance(self.answer, Exception):
            raise self.answer
        return [(family, socket.SOCK_STREAM, 6, "", (address, port)) for family, address in self.answer]


async def test_every_address_of_a_name_is_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(EchoCodec(2)) as one:
        port = one.target.rpartition(":")[2]
        async with serving(EchoCodec(2), address=f"127.0.0.2:{port}") as other:
            Names(monkeypatch).answer = [LOOPBACK, (socket.AF_INET, "127.0.0.2")]
            async with watching(f"codec.internal:{port}") as pool:
                await until_all_report(pool, 2)
                assert {await pool.acquire(address_of) for _ in range(4)} == {one.target, other.target}


@pytest.mark.parametrize(
    ("target", "found", "address"),
    [
        ("both:1", [(socket.AF_INET6, "::1"), LOOPBACK], "127.0.0.1:1"),
        ("[::1]:7", [(socket.AF_INET6, "::1")], "[::1]:7"),
    ],
    ids=["both kinds of address are one worker", "IPv6 is spelt as gRPC wants it"],
)
async def test_an_address_is_one_worker(
    monkeypatch: pytest.MonkeyPatch, target: str, found: list[tuple[int, str]], address: str
) -> None:
    Names(monkeypatch).answer = found
    assert await TargetNames([target]).look_up() == {address}


@pytest.mark.parametrize("failure", FAILURES)
async def test_a_name_stands_for_what_it_did_while_it_cannot_be_looked_up(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, failure: Exception
) -> None:
    looked_up, names = Names(monkeypatch), TargetNames(["codec.internal:1"])
    looked_up.answer = [LOOPBACK]
    assert await names.look_up() == {"127.0.0.1:1"}
    looked_up.answer = failure
    for _ in range(3):
        assert await names.look_up() == {"127.0.0.1:1"}
    assert caplog.text.count("cannot look up target=codec.internal:1") == 1


@pytest.mark.parametrize("answer", [GONE, []])
async def test_a_name_that_is_gone_stands_for_nothing(
    monkeypatch: pytest.MonkeyPatch, answer: list[tuple[int, str]] | Exception
) -> None:
    looked_up, names = Names(monkeypatch), TargetNames(["codec.internal:1"])
    looked_up.answer = [LOOPBACK]
    await names.look_up()
    looked_up.answer = answer
    assert await names.look_up() == set()


async def test_a_worker_that_stalls_is_kept_while_its_name_cannot_be_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_up = Names(monkeypatch)
    looked_up.answer = [LOOPBACK]
    async with (
        serving(StandingStill()) as worker,
        watching(worker.target, silence_max_s=0.1, resolve_interval_s=0.01) as pool,
    ):
        looked_up.answer = FAILURES[0]
        await until_all_report(pool, 0)
        await until_all_report(pool, 1)  # it is still known, and asked again


async def test_a_worker_whose_name_is_gone_keeps_its_calls_gets_no_new_ones_and_is_forgotten_after_the_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked_up = Names(monkeypatch)
    looked_up.answer = [LOOPBACK]
    async with serving(EchoCodec(2)) as worker, watching(worker.target, resolve_interval_s=0.01) as pool:

        async def reachable(answer: list[tuple[int, str]], expected: bool) -> None:
            looked_up.answer = answer
            await eventually(lambda: pool.is_reachable is expected)

        stream = known(pool)[worker.target].mux.open(ENCODE, codec_pb2.CodeFrame)
        await stream.until_held()
        await reachable([], False)
        with pytest.raises(Unavailable):
            await pool.acquire(address_of)
        await reachable([LOOPBACK], True)
        assert await pool.acquire(address_of) == worker.target
        await reachable([], False)
        await stream.write(pcm_frame(0))
        assert (await stream.read()) is not None
        assert known(pool)
        stream.done_writing()
        assert await stream.read() is None
        await eventually(lambda: not known(pool))


async def test_a_lost_worker_whose_name_is_gone_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_up = Names(monkeypatch)
    looked_up.answer = [LOOPBACK]
    async with serving(EchoCodec(2)) as worker:
        watched = watching(worker.target, resolve_interval_s=0.01)
        pool = await watched.__aenter__()
        held = known(pool)[worker.target].mux.open(ENCODE, codec_pb2.CodeFrame)
        await held.until_held()
        looked_up.answer = GONE
        await eventually(lambda: not pool.is_reachable)
        assert known(pool)
    await eventually(lambda: not known(pool))
    await watched.__aexit__(None, None, None)

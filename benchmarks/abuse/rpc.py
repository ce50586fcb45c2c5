"""Floods over gRPC: calls that send more than speech, or nothing, and a peer of a worker that does not read."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import grpc
from google.protobuf.json_format import ParseDict

from benchmarks.abuse.flood import Client, Flood, Ports, Tally
from moshi_cluster.services.common.rpc import DIRECT
from moshi_cluster.v1 import gateway_pb2, trunk_pb2

_CONVERSE = "/moshi_cluster.v1.Gateway/Converse"
_CARRY = "/moshi_cluster.v1.Trunk/Carry"
_GENERATE = "/moshi_cluster.v1.Lm/Generate"
_OPTIONS = [*DIRECT, ("grpc.use_local_subchannel_pool", 1)]  # a connection for each client
_BATCH = 50  # messages between two looks at the others
_OPENS = 500  # of one bundle
_OVER = (grpc.aio.AioRpcError, asyncio.InvalidStateError)  # reading says why
_CALL_S = 1.0


def request(**message: Any) -> bytes:
    """A ConverseRequest, given as in JSON, serialised."""
    return ParseDict(message, gateway_pb2.ConverseRequest()).SerializeToString()


_FORMAT = {"encoding": "ENCODING_PCM_F32LE", "sampleRateHz": 48_000}
_LOOPBACK = request(start={"inputFormat": _FORMAT, "loopback": True})
_CALL = request(start={"inputFormat": _FORMAT})


def audio(data: bytes) -> bytes:
    """A packet of voice."""
    return gateway_pb2.ConverseRequest(audio=gateway_pb2.Audio(data=data)).SerializeToString()


PIECES: Mapping[str, bytes] = {
    "audio": audio(bytes(4 * 48 * 80)),
    "tiny-audio": audio(bytes(4 * 48)),
    "empty-audio": audio(b""),
    "marks": request(control={"mark": {"name": "x"}}),
    "keys": request(control={"dtmf": {"digit": "1"}}),
    "status-requests": request(control={"status": {}}),
}
"""Messages that are sent over and over in one call, by name."""


@asynccontextmanager
async def stream(address: str, method: str, token: str = "") -> AsyncIterator[Any]:
    """A stream of serialised messages on a connection of its own."""
    async with grpc.aio.insecure_channel(address, _OPTIONS) as channel:
        rpc = channel.stream_stream(method)(metadata=showing(token))
        try:
            yield rpc
        finally:
            rpc.cancel()


def showing(token: str) -> list[tuple[str, str]]:
    """The metadata of a call with this token."""
    return [("authorization", f"Bearer {token}")]


def repeating(first: bytes, piece: bytes) -> Client:
    """A call that sends `piece` as fast as it is taken, until it is thrown out."""

    async def client(ports: Ports, tally: Tally) -> None:
        async with stream(ports.gateway, _CONVERSE, ports.token) as rpc:
            reading = asyncio.create_task(_read_all(rpc))
            try:
                await _write_on(rpc, first, piece, reading, tally)
            finally:
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)
            tally.ends[(await rpc.code()).name] += 1

    return client


async def _write_on(rpc: Any, first: bytes, piece: bytes, reading: asyncio.Task[None], tally: Tally) -> None:
    try:
        await rpc.write(first)
        while not reading.done():
            for _ in range(_BATCH):
                await rpc.write(piece)
            tally.sent += _BATCH
            await asyncio.sleep(0)
    except _OVER:
        await reading


async def _read_all(rpc: Any) -> None:
    with contextlib.suppress(grpc.aio.AioRpcError):
        while await rpc.read() is not grpc.aio.EOF:
            pass


async def open_and_cancel(ports: Ports, tally: Tally) -> None:
    """Begins calls and breaks them off, on one connection."""
    async with grpc.aio.insecure_channel(ports.gateway, _OPTIONS) as channel:
        for _ in range(_BATCH):
            rpc: Any = channel.stream_stream(_CONVERSE)(metadata=showing(ports.token))
            try:
                await rpc.write(_CALL)
            except _OVER:
                tally.ends["refused"] += 1
            rpc.cancel()
            tally.sent += 1
            await asyncio.sleep(0)


async def hold_places(ports: Ports, tally: Tally) -> None:
    """Opens loopback calls that say nothing and holds them."""
    async with stream(ports.gateway, _CONVERSE, ports.token) as rpc:
        tally.sent += 1
        with contextlib.suppress(*_OVER):
            await rpc.write(_LOOPBACK)
        await _read_all(rpc)
        tally.ends[(await rpc.code()).name] += 1


async def phone(ports: Ports, tally: Tally) -> None:
    """No abuse: an honest call of a second, as often as there is one to make."""
    async with stream(ports.gateway, _CONVERSE, ports.token) as rpc:
        served = False
        with contextlib.suppress(*_OVER):
            await rpc.write(_CALL)
            served = await rpc.read() is not grpc.aio.EOF
        tally.ends["phone served" if served else "phone refused"] += 1
        await asyncio.sleep(_CALL_S)


async def open_unread(ports: Ports, tally: Tally) -> None:
    """A trunk to the lm on which streams are opened and nothing is read."""
    async with stream(ports.lm, _CARRY) as rpc:
        first = 1
        try:
            while True:
                await rpc.write(_opens(first))
                first += _OPENS
                tally.sent += _OPENS
        except _OVER:
            tally.ends[(await rpc.code()).name] += 1


def _opens(first: int) -> bytes:
    items = [trunk_pb2.TrunkItem(stream=number, open=_GENERATE) for number in range(first, first + _OPENS)]
    return trunk_pb2.TrunkBundle(items=items).SerializeToString()


RPC_FLOODS = {
    f"rpc-{name}": Flood(f"loopback calls that send {name.replace('-', ' ')}", [repeating(_LOOPBACK, piece)] * 16)
    for name, piece in PIECES.items()
} | {
    "rpc-calls": Flood("calls with a slot that send audio as fast as it goes", [repeating(_CALL, PIECES["audio"])] * 4),
    "rpc-keys-in-calls": Flood("calls with a slot that press keys", [repeating(_CALL, PIECES["keys"])] * 4),
    "rpc-aborted-openings": Flood("calls begun and broken off at once", [open_and_cancel] * 4),
    "rpc-places": Flood("loopback calls that say nothing", [hold_places] * 120),
    "rpc-unread-trunk": Flood("a peer of the lm that opens streams and reads nothing", [open_unread]),
}

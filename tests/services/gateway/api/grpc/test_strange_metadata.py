"""Metadata that no gRPC library would send: answered, and nothing of it is logged."""

from __future__ import annotations

import asyncio
import logging
import struct
from collections.abc import Iterator

import pytest

from moshi_cluster.services.common.logs import LogHandler, OneLineFormatter
from tests.services.gateway.caller import START
from tests.services.gateway.cluster import Cluster, cluster
from tests.services.in_process import PATIENCE_S, eventually

_SETTINGS, _HEADERS, _DATA = 4, 1, 0
_END_HEADERS, _END_STREAM = 4, 1
_SECRET = b"secret-\xff\xfe-token"


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Iterator[list[str]]:
    """Everything that the process would log meanwhile."""
    caplog.set_level("INFO")
    lines: list[str] = []
    handler = LogHandler(OneLineFormatter("gateway"), lines.append, lambda why: None)
    logging.getLogger().addHandler(handler)
    yield lines
    logging.getLogger().removeHandler(handler)


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """A frame of HTTP/2 (RFC 9113, section 4.1)."""
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def header(name: bytes, value: bytes) -> bytes:
    """A header without compression (RFC 7541, section 6.2.2)."""
    return b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value


def call_with(metadata: bytes) -> bytes:
    """A connection's first bytes: one call that starts and hangs up."""
    request = START.SerializeToString()
    fixed = {
        b":method": b"POST",
        b":scheme": b"http",
        b":path": b"/moshi_cluster.v1.Gateway/Converse",
        b":authority": b"gateway.test",
        b"te": b"trailers",
        b"content-type": b"application/grpc",
    }
    headers = b"".join(header(name, value) for name, value in fixed.items()) + metadata
    return (
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        + frame(_SETTINGS, 0, 0, b"")
        + frame(_HEADERS, _END_HEADERS, 1, headers)
        + frame(_DATA, _END_STREAM, 1, b"\x00" + struct.pack(">I", len(request)) + request)
    )


def ended(all_of_it: Cluster) -> float:
    outcomes = ("ok", "INVALID_ARGUMENT", "UNAUTHENTICATED", "CANCELLED", "INTERNAL")
    return sum(all_of_it.sample("moshi_gateway_sessions_total", outcome=outcome) for outcome in outcomes)


@pytest.mark.parametrize(
    "metadata",
    [
        header(b"authorization", b"Bearer " + _SECRET),
        header(b"moshi-call-label", _SECRET),
        header(b"moshi-" + _SECRET, b"1"),
        header(b"moshi-seed-bin", _SECRET),
        header(b"x-other", _SECRET),
    ],
)
async def test_bytes_that_are_no_text_are_not_logged(metadata: bytes, lines: list[str]) -> None:
    async with cluster() as all_of_it:
        host, _, port = all_of_it.target.rpartition(":")
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(call_with(metadata))
        async with asyncio.timeout(PATIENCE_S):
            await writer.drain()
        await eventually(lambda: ended(all_of_it) == 1)
        writer.close()
        assert all_of_it.sample("moshi_gateway_sessions_total", outcome="INTERNAL") == 0
    logged = "".join(lines)
    assert "call over" in logged
    assert "secret" not in logged
    assert "Traceback" not in logged


async def test_a_flood_of_them_is_counted_and_not_listed(lines: list[str]) -> None:
    async with cluster() as all_of_it:
        host, _, port = all_of_it.target.rpartition(":")
        for number in range(1, 31):
            _, writer = await asyncio.open_connection(host, int(port))
            writer.write(call_with(header(b"authorization", b"Bearer " + _SECRET)))
            await eventually(lambda number=number: ended(all_of_it) == number)
            writer.close()
    assert 10 <= len([line for line in lines if "Invalid encoding" in line]) < 20  # one in five seconds more

"""The PROXY protocol: whom a proxy announces, what is no announcement, and who may announce anybody."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moshi_cluster.services.gateway.api.http.proxy_protocol import parse_block, parse_line, read_header
from tests.services.gateway.api.websocket.chatter import HTTP
from tests.services.gateway.cluster import Cluster, cluster
from tests.services.in_process import PATIENCE_S

SIGNATURE = bytes.fromhex("0d0a0d0a000d0a515549540a")
TRUSTED = {"trusted_proxies": ("127.0.0.1",), "http_proxy_protocol": True}
GET = b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def block(client: str, more: bytes = b"", command: int = 0x21) -> bytes:
    """A header of version 2."""
    source = ipaddress.ip_address(client)
    addresses = source.packed + bytes(len(source.packed)) + bytes(4) + more
    return (
        SIGNATURE
        + bytes([command, 0x11 if source.version == 4 else 0x21])
        + len(addresses).to_bytes(2, "big")
        + addresses
    )


HEADERS = {
    b"PROXY TCP4 198.51.100.1 192.0.2.1 56324 443\r\n": "198.51.100.1",
    b"PROXY TCP6 2001:db8::1 2001:db8::2 65535 1\r\n": "2001:db8::1",
    b"PROXY UNKNOWN\r\n": None,
    b"PROXY UNKNOWN ffff:f::1 ffff:f::2 65535 65535\r\n": None,
    block("198.51.100.1"): "198.51.100.1",
    block("2001:db8::1", more=b"\x20\x00\x05hello"): "2001:db8::1",
    block("198.51.100.1", command=0x20): None,
    SIGNATURE + b"\x20\x00\x00\x00": None,
    SIGNATURE + b"\x21\x00\x00\x00": None,
    SIGNATURE + b"\x21\x31\x00\xd8" + bytes(216): None,
}
NO_HEADERS = {
    "HTTP": GET,
    "TLS": b"\x16\x03\x01" + bytes(64),
    "no family": b"PROXY TCP5 1.1.1.1 2.2.2.2 1 2\r\n",
    "mixed families": b"PROXY TCP4 2001:db8::1 2.2.2.2 1 2\r\n",
    "no address": b"PROXY TCP4 1.1.1.999 2.2.2.2 1 2\r\n",
    "a name": b"PROXY TCP4 localhost 2.2.2.2 1 2\r\n",
    "no ports": b"PROXY TCP4 1.1.1.1 2.2.2.2\r\n",
    "a port too high": b"PROXY TCP4 1.1.1.1 2.2.2.2 1 65536\r\n",
    "no end": b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2 " + b" " * 200,
    "unknownness": b"PROXY UNKNOWNNESS\r\n",
    "version 3": SIGNATURE + b"\x31\x11\x00\x0c" + bytes(12),
    "an unknown command": SIGNATURE + b"\x22\x11\x00\x0c" + bytes(12),
    "UDP": SIGNATURE + b"\x21\x12\x00\x0c" + bytes(12),
    "a block too short": SIGNATURE + b"\x21\x21\x00\x0c" + bytes(12),
    "a block too long": SIGNATURE + b"\x21\x11\xff\xff" + bytes(65535),
}
UNFINISHED = {"half of one": b"PROXY TC", "silence": b""}


async def header_of(data: bytes) -> tuple[str | None, bytes]:
    """What is read of these bytes, and what is left of them."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.sendall(data)
        theirs.shutdown(socket.SHUT_WR)
        return await read_header(ours), ours.recv(100)


@pytest.mark.parametrize(("header", "client"), HEADERS.items())
async def test_an_announcement_is_read_to_its_last_byte(header: bytes, client: str | None) -> None:
    assert await header_of(header + b"behind it") == (client, b"behind it")


@pytest.mark.parametrize("data", NO_HEADERS.values(), ids=NO_HEADERS)
async def test_what_is_no_announcement_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="PROXY header|no such|not appear"):
        await header_of(data)


@pytest.mark.parametrize("header", HEADERS)
async def test_half_an_announcement_is_none(header: bytes) -> None:
    for size in range(len(header)):
        with pytest.raises(EOFError):
            await header_of(header[:size])


@given(st.binary(max_size=120))
def test_any_bytes_are_an_announcement_or_refused(data: bytes) -> None:
    for parse in (lambda: parse_line(data), lambda: parse_block(*data[:2], data[2:]) if len(data) > 1 else None):
        try:
            client = parse()
        except ValueError:
            continue
        assert client is None or ipaddress.ip_address(client)


async def answer(all_of_it: Cluster, data: bytes, tls: bytes = b"") -> bytes:
    """The beginning of what comes back. tls: sent before the handshake."""

    def ask() -> bytes:
        with socket.create_connection(("127.0.0.1", all_of_it.service.http_port), PATIENCE_S) as plain:
            connection = plain
            if tls:
                plain.sendall(tls)
                context = ssl.create_default_context()
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
                connection = context.wrap_socket(plain)
            try:
                connection.sendall(data)
                return connection.recv(15)
            except ConnectionError:
                return b""

    return await asyncio.to_thread(ask)


@pytest.mark.parametrize(
    "header", [b"PROXY TCP4 198.51.100.1 127.0.0.1 5000 80\r\n", block("2001:db8::1"), b"PROXY UNKNOWN\r\n"]
)
@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "tls"])
async def test_a_trusted_proxy_announces_before_anything_else(header: bytes, encrypted: bool, tmp_path: Path) -> None:
    tls = {"tls_dir": str(tmp_path), "tls_self_signed": True} if encrypted else {}
    async with cluster(**HTTP | TRUSTED | tls) as all_of_it:
        parts = (GET, header) if encrypted else (header + GET, b"")
        assert await answer(all_of_it, *parts) == b"HTTP/1.1 200 OK"


@pytest.mark.parametrize("data", (NO_HEADERS | UNFINISHED).values(), ids=NO_HEADERS | UNFINISHED)
async def test_a_trusted_proxy_that_announces_nobody_is_closed_and_counted(data: bytes) -> None:
    times = {"http_request_timeout_s": 0.5} if data in UNFINISHED.values() else {}
    async with cluster(**HTTP | TRUSTED | times) as all_of_it:
        assert await answer(all_of_it, data) == b""
        assert all_of_it.sample("moshi_gateway_http_refused_total", reason="proxy") == 1
        assert all_of_it.sample("moshi_gateway_http_connections") == 0


@pytest.mark.parametrize(
    "settings", [{}, {"trusted_proxies": ("127.0.0.1",)}, TRUSTED | {"trusted_proxies": ("10.0.0.0/8",)}]
)
@pytest.mark.parametrize("header", [b"PROXY TCP4 198.51.100.1 127.0.0.1 5000 80\r\n", block("198.51.100.1")])
async def test_nobody_else_may_announce_anybody(header: bytes, settings: dict[str, object]) -> None:
    async with cluster(**HTTP | settings) as all_of_it:
        assert b" 400 " in await answer(all_of_it, header + GET)


async def first_bytes(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read(12)
    except ConnectionError:
        return b""


async def test_announced_clients_have_limits_of_their_own() -> None:
    async with cluster(**HTTP | TRUSTED | {"max_http_connections_per_client": 1}) as all_of_it:
        port = all_of_it.service.http_port
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        for (_, writer), client in zip(held, ("198.51.100.1", "198.51.100.2", "198.51.100.1"), strict=True):
            writer.write(block(client) + GET.replace(b"close", b"keep-alive"))
        answers = [await first_bytes(reader) for reader, _ in held]
        assert sorted(answers) == [b"", b"HTTP/1.1 200", b"HTTP/1.1 200"]
        assert all_of_it.sample("moshi_gateway_http_refused_total", reason="client") == 1
        for _, writer in held:
            writer.close()


async def test_the_grpc_port_knows_no_announcements() -> None:
    async with cluster() as all_of_it:
        host, _, port = all_of_it.target.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"PROXY TCP4 198.51.100.1 127.0.0.1 5000 80\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9))
        async with asyncio.timeout(PATIENCE_S):
            await reader.read()  # to the end: a client that begins as it should is not closed
        writer.close()

"""PROXY protocol, versions 1 and 2: the line or block in which a proxy says for whom it has connected.

The specification is HAProxy's `doc/proxy-protocol.txt`.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket

_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_MOST_LINE_BYTES = 107
_MOST_BLOCK_BYTES = 2048  # addresses take 36, what proxies add about TLS some hundred
_LINE = re.compile(rb"PROXY TCP([46]) ([0-9a-fA-F:.]+) ([0-9a-fA-F:.]+) ([0-9]{1,5}) ([0-9]{1,5})\r\n")
_UNKNOWN = b"PROXY UNKNOWN"  # what follows is to be passed over
_LOCAL, _PROXY = 0x20, 0x21
_ADDRESS_BYTES = {0x11: 4, 0x21: 16}  # TCP over IPv4 and IPv6
_NO_ADDRESS = (0x00, 0x31, 0x32)  # unspecified, Unix sockets


async def read_header(connection: socket.socket) -> str | None:
    """The client's address; None where the proxy speaks for itself, for its health checks for example.

    connection: not blocking; nothing behind the header is read. Raises ValueError for what is no header, EOFError.
    """
    head = await _read(connection, len(_SIGNATURE))
    if head == _SIGNATURE:
        command, family, *length = await _read(connection, 4)
        size = int.from_bytes(length, "big")
        if size > _MOST_BLOCK_BYTES:
            raise ValueError(f"a PROXY header of {size} bytes")
        return parse_block(command, family, await _read(connection, size))
    while head.startswith(b"PROXY ") and not head.endswith(b"\r\n") and len(head) < _MOST_LINE_BYTES:
        head += await _read(connection, 1)
    return parse_line(head)


def parse_line(line: bytes) -> str | None:
    """The client's address in a header of version 1, None in one of an unknown connection. Raises ValueError."""
    if line.startswith((_UNKNOWN + b"\r\n", _UNKNOWN + b" ")) and line.endswith(b"\r\n"):
        return None
    match = _LINE.fullmatch(line)
    if match is None:
        raise ValueError("no PROXY header")
    client, proxy = (ipaddress.ip_address(match[part].decode()) for part in (2, 3))
    if (client.version, proxy.version) != (int(match[1]),) * 2 or max(int(match[4]), int(match[5])) > 0xFFFF:
        raise ValueError("a PROXY header of mixed addresses")
    return str(client)


def parse_block(command: int, family: int, addresses: bytes) -> str | None:
    """The client's address in a header of version 2, None where the proxy speaks for itself. Raises ValueError.

    addresses: client, proxy, their ports; what may come behind is passed over.
    """
    if command not in (_LOCAL, _PROXY):
        raise ValueError("a PROXY header of an unknown version or command")
    if command == _LOCAL or family in _NO_ADDRESS:
        return None
    size = _ADDRESS_BYTES.get(family)
    if size is None or len(addresses) < 2 * size + 4:
        raise ValueError("a PROXY header of an unknown family, or too short")
    return str(ipaddress.ip_address(addresses[:size]))


async def _read(connection: socket.socket, size: int) -> bytes:
    """Exactly so many bytes. Raises EOFError."""
    loop = asyncio.get_running_loop()
    data = b""
    while len(data) < size:
        received = await loop.sock_recv(connection, size - len(data))
        if not received:
            raise EOFError
        data += received
    return data

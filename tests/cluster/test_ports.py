"""Ports that are free."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from itertools import cycle

import grpc
import pytest

from moshi_cluster.cluster import ports
from moshi_cluster.cluster.ports import LOOPBACK, free_ports
from moshi_cluster.services.common.rpc import server_options


def test_free_ports_differ_and_can_be_had() -> None:
    found = free_ports(20)
    assert len(set(found)) == 20
    for port in found:
        socket.create_server((LOOPBACK, port)).close()


class Drawn:
    """Draws these ports again and again."""

    def __init__(self, drawn: list[int]) -> None:
        self._drawn: Iterator[int] = cycle(drawn)

    def choice(self, among: range) -> int:
        return next(self._drawn)


def test_a_port_that_was_given_is_not_given_again_although_nobody_listens_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, third = free_ports(3)
    ports._held.pop().close()
    monkeypatch.setattr(ports, "_random", Drawn([first, first, second, third]))
    assert free_ports(1) == [third]
    with pytest.raises(OSError, match="no free port"):
        free_ports(1)


def test_another_program_is_not_given_it_either() -> None:
    (port,) = free_ports(1)
    program = f"""
import random
from moshi_cluster.cluster import ports
ports._random = random.Random(1)
ports._PORTS = range({port}, {port} + 1)
ports.free_ports(1)
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert f"no free port from {port} to {port + 1}" in ended.stderr


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "[::]"])
async def test_grpc_listens_on_it(host: str) -> None:
    (port,) = free_ports(1)
    server = grpc.aio.server(options=server_options(1024, 1))
    assert server.add_insecure_port(f"{host}:{port}") == port
    await server.stop(None)


def test_of_many_the_last_ones_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "_MOST_HELD", len(ports._held) + 2)
    before = len(ports._held)
    free_ports(5)
    assert len(ports._held) == before + 2

"""Ports that are free."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from itertools import cycle

import pytest

from moshi_cluster.cluster import ports
from moshi_cluster.cluster.ports import LOOPBACK, free_ports


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
    monkeypatch.setattr(ports, "_given", type(ports._given)())
    monkeypatch.setattr(ports, "_random", Drawn([first, first, second, third]))
    assert free_ports(1) == [first]
    assert free_ports(2) == [second, third]
    with pytest.raises(OSError, match="no free port"):
        free_ports(1)

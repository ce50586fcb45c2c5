"""Ports that are free."""

from __future__ import annotations

import socket

from moshi_cluster.cluster.ports import LOOPBACK, free_ports


def test_free_ports_differ_and_can_be_had() -> None:
    ports = free_ports(20)
    assert len(set(ports)) == 20
    for port in ports:
        socket.create_server((LOOPBACK, port)).close()

"""Ports that are free and ports that are not."""

from __future__ import annotations

import socket

import pytest

from moshi_cluster.cluster.ports import LOOPBACK, check_port, free_ports


def test_free_ports_differ_and_can_be_had() -> None:
    ports = free_ports(20)
    assert len(set(ports)) == 20
    for port in ports:
        check_port(LOOPBACK, port)


def test_a_port_that_is_taken_cannot_be_had() -> None:
    with socket.create_server((LOOPBACK, 0)) as taken, pytest.raises(OSError, match="in use"):
        check_port(LOOPBACK, taken.getsockname()[1])


def test_an_address_of_another_machine_cannot_be_had() -> None:
    with pytest.raises(OSError, match="assign"):
        check_port("192.0.2.1", 0)

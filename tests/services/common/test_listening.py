"""Addresses to listen on."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from moshi_cluster.services.common.listening import Host, check_port, open_listeners, with_port
from moshi_cluster.services.common.settings import SettingError
from tests.services.in_process import PATIENCE_S

_PREFIX, _FIELD = "MOSHI_LM_", "metrics_port"


@pytest.fixture
def taken() -> Iterator[int]:
    """A port of 127.0.0.1 that somebody else listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("::1", "::1"),
        ("[::1]", "::1"),
        ("[::]", "::"),
        ("127.0.0.1", "127.0.0.1"),
        ("lm.test", "lm.test"),
        ("", "0.0.0.0"),
    ],
)
def test_a_host_comes_with_or_without_brackets(text: str, host: str) -> None:
    assert Host(text) == host


@pytest.mark.parametrize(("host", "target"), [("::1", "[::1]:80"), ("127.0.0.1", "127.0.0.1:80"), ("lm", "lm:80")])
def test_before_a_port_ipv6_has_brackets(host: str, target: str) -> None:
    assert with_port(host, 80) == target


@pytest.mark.parametrize(
    ("host", "reached_at"),
    [("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("::", "::1"), ("::", "127.0.0.1"), ("0.0.0.0", "127.0.0.1")],
)
def test_it_is_reached_at_every_address_that_the_host_stands_for(host: str, reached_at: str) -> None:
    (listener,) = open_listeners(host, 0, _PREFIX, _FIELD)
    with listener, socket.create_connection((reached_at, listener.getsockname()[1]), PATIENCE_S):
        pass


def test_every_address_of_a_name_listens_on_one_port() -> None:
    listeners = open_listeners("localhost", 0, _PREFIX, _FIELD)
    ports = {listener.getsockname()[1] for listener in listeners}
    for listener in listeners:
        listener.close()
    assert len(ports) == 1


def refusal(host: str, port: int) -> str:
    with pytest.raises(SettingError) as refused:
        check_port(host, port, _PREFIX, _FIELD)
    return str(refused.value)


def test_a_taken_port_is_said_in_one_line_that_names_its_setting(taken: int) -> None:
    message = f"MOSHI_LM_METRICS_PORT: cannot listen on 127.0.0.1:{taken}: the port is taken"
    assert refusal("127.0.0.1", taken) == message


def test_a_taken_port_of_ipv6_is_said_as_one_types_it() -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listener:
        port = listener.getsockname()[1]
        assert refusal("::1", port).startswith(f"MOSHI_LM_METRICS_PORT: cannot listen on [::1]:{port}: ")


@pytest.mark.parametrize(
    "host", ["192.0.2.1", "2001:db8::1", "no.such.host.invalid", "fe80::1%nowhere", "a" * 70 + ".test"]
)
def test_a_host_that_is_not_this_machines_is_said_by_the_hosts_setting(host: str) -> None:
    message = refusal(host, 0)
    assert message.startswith("MOSHI_LM_HOST: ")
    assert host in message
    assert "\n" not in message


def test_nothing_stays_open_when_one_of_several_addresses_cannot_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    both = [(socket.AF_INET, 0, 0, "", ("127.0.0.1", 0)), (socket.AF_INET, 0, 0, "", ("192.0.2.1", 0))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: both)
    opened: list[socket.socket] = []
    create = socket.create_server
    monkeypatch.setattr(socket, "create_server", lambda *a, **k: opened.append(create(*a, **k)) or opened[-1])
    assert refusal("two.test", 0).startswith("MOSHI_LM_HOST: ")
    assert [listener.fileno() for listener in opened] == [-1]

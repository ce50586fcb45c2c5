"""The metrics port and those who have no business there."""

from __future__ import annotations

import asyncio
import gzip
import socket
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from prometheus_client import CollectorRegistry, Counter

from moshi_cluster.cluster.ports import free_ports
from moshi_cluster.services.common.listening import open_listeners
from moshi_cluster.services.common.metrics import MetricsEndpoint
from moshi_cluster.services.common.scrapes import ScrapeServer
from tests.services.in_process import PATIENCE_S

_IDLE = 200


@pytest.fixture
def port() -> Iterator[int]:
    """Of an endpoint that shows one counter."""
    registry = CollectorRegistry()
    Counter("moshi_lm_rejections", "Refused.", registry=registry).inc()
    with MetricsEndpoint("127.0.0.1", 0, registry) as endpoint:
        yield endpoint.port


def connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), PATIENCE_S)


def scrape(port: int, **headers: str) -> bytes:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/metrics", headers=headers)
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
        return bytes(answer.read())


def answer_to(port: int, request: bytes) -> bytes:
    """All that comes back before the connection is closed."""
    with connected(port) as connection:
        connection.sendall(request)
        return b"".join(iter(lambda: connection.recv(65_536), b""))


@pytest.mark.parametrize("begun", [b"", b"GET /metrics HTTP/1.1\r\nHost: x\r\n"], ids=["nothing", "half a request"])
def test_two_hundred_connections_that_say_nothing_keep_nobody_from_scraping(port: int, begun: bytes) -> None:
    threads = threading.active_count()
    with ExitStack() as held:
        idle = [held.enter_context(connected(port)) for _ in range(_IDLE)]
        for connection in idle:
            connection.sendall(begun)
        assert b"moshi_lm_rejections_total 1.0" in scrape(port)
        assert threading.active_count() == threads
        assert idle[0].recv(1) == b""  # the oldest had to make room


async def test_a_connection_whose_request_does_not_come_is_closed() -> None:
    (listener,) = open_listeners("127.0.0.1", 0, "MOSHI_TEST_", "metrics_port")
    address = listener.getsockname()
    serving = asyncio.create_task(ScrapeServer(CollectorRegistry(), timeout_s=0.05).run([listener]))
    reader, writer = await asyncio.open_connection(*address)
    writer.write(b"GET /met")
    async with asyncio.timeout(PATIENCE_S):
        assert await reader.read() == b""
    writer.close()
    serving.cancel()
    await asyncio.wait([serving])


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"\x16\x03\x01 secret\r\n\r\n", b"400"),
        (b"secret\r\n\r\n", b"400"),
        (b"GET /metrics secret more\r\n\r\n", b"400"),
        (b"secret  " * 1024, b"400"),
        (b"GET http://[secret/ HTTP/1.1\r\n\r\n", b"400"),
        (b"SECRET /metrics HTTP/1.1\r\n\r\n", b"405"),
        (b"POST /metrics HTTP/1.1\r\nContent-Length: 6\r\n\r\nsecret", b"405"),
    ],
)
def test_what_is_no_scrape_is_answered_with_nothing_of_it(
    port: int, request_: bytes, status: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    answer = answer_to(port, request_)
    assert answer.split(b" ")[1] == status
    assert b"secret" not in answer.lower()
    assert "secret" not in caplog.text.lower()


def test_a_scraper_gets_the_form_that_it_asks_for(port: int) -> None:
    assert scrape(port, Accept="application/openmetrics-text; version=1.0.0").endswith(b"# EOF\n")
    assert b"moshi_lm_rejections_total 1.0" in gzip.decompress(scrape(port, **{"Accept-Encoding": "gzip"}))


def test_the_thread_and_the_port_are_gone_when_the_endpoint_is_left() -> None:
    threads = threading.active_count()
    with MetricsEndpoint("127.0.0.1", free_ports(1)[0], CollectorRegistry()) as endpoint:
        held = connected(endpoint.port)
    assert threading.active_count() == threads
    held.close()
    with socket.create_server(("127.0.0.1", endpoint.port)):
        pass

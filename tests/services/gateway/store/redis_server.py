"""A Redis or Valkey of the test's own, on a free port."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from moshi_cluster.cluster.ports import free_ports

PATIENCE_S = 20.0
KEY, OTHER_KEY = "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=", "QkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkI="


@dataclass
class RedisServer:
    """A server that may be stopped, halted and started again; it keeps nothing on disk."""

    port: int
    options: tuple[str, ...] = ()
    password: str = ""
    scheme: str = "redis"
    query: str = ""
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"{self.scheme}://:{self.password}@127.0.0.1:{self.port}/0{self.query}"

    def start(self) -> None:
        """Returns once it answers."""
        port = ("--port", "0", "--tls-port", str(self.port)) if self.scheme == "rediss" else ("--port", str(self.port))
        secret = ("--requirepass", self.password) if self.password else ()
        fixed = ("--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", "/tmp")
        command = [_program(), *port, *secret, *fixed, *self.options]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline_s = time.monotonic() + PATIENCE_S
        while not self._accepts():
            assert self.process.poll() is None, "the server ended"
            assert time.monotonic() < deadline_s, "the server does not answer"
            time.sleep(0.02)

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def halt(self) -> None:
        """It accepts connections and answers nothing."""
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGCONT)

    def _accepts(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


@contextmanager
def redis_server(*options: str, **fields: str) -> Iterator[RedisServer]:
    """A server that runs. Skips the test where there is none on this machine."""
    if not _program():
        pytest.skip("no valkey-server and no redis-server on the PATH")
    server = RedisServer(free_ports(1)[0], options, **fields)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with redis_server(password="secret-word") as server:
        yield server


@pytest.fixture
def key_file(tmp_path: Path) -> str:
    path = tmp_path / "keys"
    path.write_text(f"# of this cluster\n{KEY}\n")
    return str(path)


def _program() -> str:
    return shutil.which("valkey-server") or shutil.which("redis-server") or ""

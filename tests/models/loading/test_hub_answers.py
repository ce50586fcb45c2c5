"""A hub that fails as hubs, proxies and networks do: whoever started us reads one line with repository, file, cause."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

_COMMIT = "a" * 40
_PROGRAM = """
import sys
import time
time.sleep = lambda _seconds: None  # between the tries of the hub's library
from moshi_cluster.models.loading.errors import CheckpointError
from moshi_cluster.models.loading.source import Repository
for name in sys.argv[1:]:
    try:
        Repository(f"owner/{name}").find("model.safetensors")
        print(f"{name}|none|found")
    except CheckpointError as error:
        print(f"{name}|{type(error).__name__}|{error}")
"""


class Hub(BaseHTTPRequestHandler):
    """Each repository fails in its own way."""

    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def log_message(self, *arguments: object) -> None:
        """Silent."""

    def _answer(self, with_body: bool) -> None:
        repository = self.path.split("/")[2]
        if repository in ("forbidden", "busy"):
            self._send(403 if repository == "forbidden" else 429, {}, b"no", with_body)
        elif repository == "circle":
            self._send(302, {"Location": self.path}, b"", with_body)
        elif repository == "login":
            self._send(200, {"Content-Type": "text/html"}, b"<html>log in</html>", with_body)
        else:  # cut: the beginning of a file, then nothing
            self._send(200, {"X-Repo-Commit": _COMMIT, "ETag": '"b"', "Content-Length": "1000"}, b"begin", with_body)
            self.close_connection = True

    def _send(self, status: int, headers: dict[str, str], body: bytes, with_body: bool) -> None:
        self.send_response(status)
        for key, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(key, value)
        self.end_headers()
        if with_body:
            self.wfile.write(body)


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, str]]:
    """What is said of each repository: (kind of error, text)."""
    with _serving() as endpoint:
        environment = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
        environment |= {"HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path_factory.mktemp("hub"))}
        names = ["forbidden", "busy", "circle", "login", "cut"]
        programs = [
            _start(names, environment),
            _start(["socks"], environment | {"HTTP_PROXY": "socks5://127.0.0.1:1"}),
            _start(["nobody"], environment | {"HF_ENDPOINT": "http://127.0.0.1:1"}),
        ]
        said = [line.split("|", 2) for program in programs for line in _lines(program)]
    return {name: (kind, text) for name, kind, text in said}


class _serving:  # noqa: N801 - reads as what it does
    def __enter__(self) -> str:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{self._server.server_port}"

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def _start(names: list[str], environment: dict[str, str]) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", _PROGRAM, *names]
    root = Path(__file__).parents[3]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=root, env=environment, stdout=pipe, stderr=pipe, text=True)


def _lines(program: subprocess.Popen[str]) -> list[str]:
    output, errors = program.communicate(timeout=110)
    assert program.returncode == 0, errors
    return output.splitlines()


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("forbidden", "403"),
        ("busy", "429"),
        ("circle", "redirect"),
        ("login", "a login page or a proxy"),
        ("cut", "could not fetch"),
        ("socks", "socks"),
        ("nobody", "out of reach"),
    ],
)
def test_one_line_names_repository_file_and_cause(name: str, cause: str, answers: dict[str, tuple[str, str]]) -> None:
    kind, text = answers[name]
    assert kind == "CheckpointError"
    assert text.startswith(f"owner/{name}: ") and "model.safetensors" in text
    assert cause in text.lower()

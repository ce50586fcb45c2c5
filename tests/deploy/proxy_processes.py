"""nginx, HAProxy and Caddy as processes of their own, each with its file of deploy/proxies."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from moshi_cluster.cluster.ports import free_ports
from moshi_cluster.services.gateway.api.tls import CERTIFICATE, KEY, write_self_signed
from tests.cluster.processes import listening
from tests.services.in_process import PATIENCE_S

FILES = Path(__file__).parents[2] / "deploy" / "proxies"
PROXIES = ("nginx", "haproxy", "caddy")
_STOP_S = 5.0

Replacements = dict[str, str]


@dataclass(frozen=True)
class Upstream:
    """The ports of a gateway."""

    grpc_port: int
    http_port: int


class Proxy:
    """A proxy in front of gateways, from `start` to `stop`; its ports speak TLS."""

    name: str
    file: str

    def __init__(self, folder: Path, upstreams: Sequence[Upstream], changes: Replacements) -> None:
        """changes: to the file, beside those that bring it onto this machine."""
        self.folder = folder
        self._changes = changes
        self.http_port, self.grpc_port, self._admin_port = free_ports(3)
        self.certificate = folder / CERTIFICATE
        self._upstreams = upstreams
        self._process: subprocess.Popen[bytes] | None = None
        write_self_signed(folder)

    def start(self) -> None:
        """Returns once it listens."""
        self.folder.joinpath(self.file).write_text(self._configuration())
        with self.folder.joinpath("output").open("ab") as output:
            self._process = subprocess.Popen(
                self._command(), stdout=output, stderr=output, stdin=subprocess.DEVNULL, env=self._environment()
            )
        self._wait_until_it_listens()

    def reload(self) -> None:
        """As an operator does who has changed the file; returns once the new one is in use."""
        raise NotImplementedError

    def stop(self) -> None:
        """Ends it and what it has started."""
        assert self._process is not None, "not started"
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    @property
    def written(self) -> str:
        """Everything that it has logged."""
        return "".join(path.read_text("utf-8", "replace") for path in self.folder.glob("*log")) + self._output

    @property
    def _output(self) -> str:
        return self.folder.joinpath("output").read_text("utf-8", "replace")

    def _configuration(self) -> str:
        """The file with this machine's paths and ports; each text that is replaced must be there."""
        text = (FILES / self.file).read_text()
        for old, new in (self._replacements() | self._changes).items():
            assert old in text, f"{self.file} has no {old!r}"
            text = text.replace(old, new)
        return text

    def _replacements(self) -> Replacements:
        raise NotImplementedError

    def _command(self) -> list[str]:
        raise NotImplementedError

    def _environment(self) -> dict[str, str]:
        return {"PATH": os.environ["PATH"], "HOME": str(self.folder)}

    def _wait_until_it_listens(self) -> None:
        assert self._process is not None
        deadline_s = time.monotonic() + PATIENCE_S
        while not (listening(f"127.0.0.1:{self.http_port}") and listening(f"127.0.0.1:{self.grpc_port}")):
            assert self._process.poll() is None, self._output
            assert time.monotonic() < deadline_s, self._output
            time.sleep(0.02)


class Nginx(Proxy):
    """One port for both."""

    name, file = "nginx", "nginx.conf"

    def __init__(self, folder: Path, upstreams: Sequence[Upstream], changes: Replacements) -> None:
        super().__init__(folder, upstreams, changes)
        self.grpc_port = self.http_port

    def start(self) -> None:
        """See Proxy."""
        temporary = " ".join(f"{kind}_temp_path {self.folder};" for kind in ("client_body", "proxy", "fastcgi"))
        self.folder.joinpath("main.conf").write_text(
            f"user root; daemon off; worker_processes 1; pid {self.folder}/pid; error_log {self.folder}/main-error.log;"
            f"events {{ }} http {{ {temporary} include {self.folder / self.file}; }}"
        )
        super().start()

    def reload(self) -> None:
        """See Proxy."""
        assert self._process is not None
        before = _children(self._process.pid)
        self._process.send_signal(signal.SIGHUP)
        _until(lambda: _children(self._process.pid) - before)  # type: ignore[union-attr]

    def _replacements(self) -> Replacements:
        return {
            "    server 127.0.0.1:50051 ": _lines(
                "    server 127.0.0.1:{grpc} max_fails=1 fail_timeout=2s;", self._upstreams
            )
            + "\n    server 127.0.0.1:1 down ",
            "    server 127.0.0.1:8998 ": _lines(
                "    server 127.0.0.1:{http} max_fails=1 fail_timeout=2s;", self._upstreams
            )
            + "\n    server 127.0.0.1:1 down ",
            "listen 443 ssl": f"listen 127.0.0.1:{self.http_port} ssl",
            "    listen [::]:443 ssl http2;\n": "",
            "/etc/ssl/moshi": str(self.folder),
            "/var/log/nginx": str(self.folder),
        }

    def _command(self) -> list[str]:
        return [
            "nginx",
            "-p",
            str(self.folder),
            "-e",
            f"{self.folder}/main-error.log",
            "-c",
            f"{self.folder}/main.conf",
        ]


class Haproxy(Proxy):
    """Two ports."""

    name, file = "haproxy", "haproxy.cfg"

    def reload(self) -> None:
        """See Proxy."""
        assert self._process is not None
        before = _children(self._process.pid)
        self._process.send_signal(signal.SIGUSR2)
        _until(lambda: _children(self._process.pid) - before)  # type: ignore[union-attr]

    def _replacements(self) -> Replacements:
        pair = self.folder / "pair.pem"
        pair.write_bytes(self.certificate.read_bytes() + (self.folder / KEY).read_bytes())
        http = "    server gateway{number} 127.0.0.1:{http} check inter 2s"
        grpc = "    server gateway{number} 127.0.0.1:{grpc} check inter 2s port {http}"
        return {
            "    server gateway1 127.0.0.1:8998 check inter 2s": _lines(http, self._upstreams),
            "    server gateway1 127.0.0.1:50051 check inter 2s port 8998": _lines(grpc, self._upstreams),
            "bind :443 ": f"bind 127.0.0.1:{self.http_port} ",
            "bind :50443 ": f"bind 127.0.0.1:{self.grpc_port} ",
            "/etc/ssl/moshi/cert.pem": str(pair),
        }

    def _command(self) -> list[str]:
        return ["haproxy", "-W", "-f", str(self.folder / self.file)]


class Caddy(Proxy):
    """One port for both."""

    name, file = "caddy", "Caddyfile"

    def __init__(self, folder: Path, upstreams: Sequence[Upstream], changes: Replacements) -> None:
        super().__init__(folder, upstreams, changes)
        self.grpc_port = self.http_port

    def reload(self) -> None:
        """See Proxy."""
        path = self.folder / self.file
        path.write_text(path.read_text() + "\n# changed\n")
        command = ["caddy", "reload", "--force", "--config", str(path), "--adapter", "caddyfile"]
        subprocess.run(
            [*command, "--address", f"localhost:{self._admin_port}"],
            check=True,
            capture_output=True,
            timeout=PATIENCE_S,
            env=self._environment(),
        )

    def _replacements(self) -> Replacements:
        return {
            "{\n\tlog {": f"{{\n\tadmin localhost:{self._admin_port}\n\tauto_https disable_redirects\n\tlog {{",
            "https://moshi.example {": f"https://localhost:{self.http_port}, https://127.0.0.1:{self.http_port} {{",
            "h2c://127.0.0.1:50051": " ".join(f"h2c://127.0.0.1:{each.grpc_port}" for each in self._upstreams),
            "127.0.0.1:8998": " ".join(f"127.0.0.1:{each.http_port}" for each in self._upstreams),
            "/etc/ssl/moshi": str(self.folder),
        }

    def _command(self) -> list[str]:
        return ["caddy", "run", "--config", str(self.folder / self.file), "--adapter", "caddyfile"]


_KINDS: dict[str, type[Proxy]] = {kind.name: kind for kind in (Nginx, Haproxy, Caddy)}


@contextlib.contextmanager
def proxy(name: str, folder: Path, *upstreams: Upstream, changes: Replacements | None = None) -> Iterator[Proxy]:
    """A proxy in front of these gateways; skips the test where it is not installed."""
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed (Debian: apt-get install {name})")
    running = _KINDS[name](folder, upstreams, changes or {})
    running.start()
    try:
        yield running
    finally:
        running.stop()


def _lines(line: str, upstreams: Sequence[Upstream]) -> str:
    return "\n".join(
        line.format(number=number, grpc=each.grpc_port, http=each.http_port) for number, each in enumerate(upstreams, 1)
    )


def _children(process_id: int) -> set[int]:
    return {int(child) for child in Path(f"/proc/{process_id}/task/{process_id}/children").read_text().split()}


def _until(condition: object) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline_s
        time.sleep(0.02)

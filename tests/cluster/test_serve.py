"""`moshi-cluster serve`: it says where it is, says what dies, and stops everything."""

from __future__ import annotations

import json
import os
import re
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from moshi_cluster.cluster.direct_http import open_direct
from tests.cluster.processes import children_of, listening

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 200
FREE = ("--port", "0", "--grpc-port", "0", "--device", "cpu")


@contextmanager
def serve(*options: str, stdin: int = subprocess.DEVNULL, **variables: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "moshi_cluster", "serve", *options]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MOSHI_")} | variables
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, text=True, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=TIMEOUT_S)


def until(process: subprocess.Popen[str], pattern: str) -> str:
    """What the pattern's group finds on stdout. Fails when the process ends first."""
    assert process.stdout is not None
    for line in process.stdout:
        if found := re.search(pattern, line):
            return found[1]
    pytest.fail(f"{pattern} did not come: {process.communicate(timeout=TIMEOUT_S)[1]}")


def addresses(log: str) -> list[str]:
    found: list[str] = re.findall(r"serves at (\S+)", log)
    return found


def page(url: str) -> str:
    with open_direct(url, TIMEOUT_S, ssl._create_unverified_context()) as answer:
        text: str = answer.read().decode()
    return text


def test_an_encrypted_cluster_serves_its_page_and_ends_well_when_told_to(tmp_path: Path) -> None:
    tls = ("--tls-dir", str(tmp_path / "tls"), "--tls-self-signed")
    variables = {"MOSHI_GATEWAY_GRPC_TLS": "true", "MOSHI_LM_CONTEXT": "50"}
    with serve(*FREE, *tls, "--logs", str(tmp_path / "logs"), **variables) as process:
        url = until(process, r"page\s+(https://\S+)")
        assert "<title>" in page(url)
        process.send_signal(signal.SIGINT)
        _, log = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0, log
    assert "settings from the environment: MOSHI_GATEWAY_GRPC_TLS, MOSHI_LM_CONTEXT" in log
    assert len(addresses(log)) == 3
    assert not any(map(listening, addresses(log)))
    assert "context=50" in (tmp_path / "logs" / "lm-0.log").read_text()


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="what runs is read from /proc")
def test_a_service_that_dies_is_named_and_takes_the_others_with_it(tmp_path: Path) -> None:
    networking = tmp_path / "gradio" / "networking.py"
    networking.parent.mkdir()
    networking.write_text("def setup_tunnel(*where):\n    return 'https://public.example'\n")
    networking.with_name("__init__.py").touch()
    with serve(*FREE, "--gradio-tunnel", PYTHONPATH=str(tmp_path)) as process:
        assert until(process, r"page\s+(https://\S+) \(public\)") == "https://public.example"
        services = children_of(process.pid)
        lm = next(child for child, command in services.items() if "services.lm" in command)
        assert len(services) == 3
        os.kill(lm, signal.SIGKILL)
        _, log = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 1
    assert re.search(r"(?s)error: lm-0 ended with exit code -9:\n.*listening name=lm", log)
    assert not any(map(listening, addresses(log)))


def test_its_services_do_not_outlive_it_even_where_it_is_killed() -> None:
    with serve(*FREE) as process:
        until(process, r"gRPC\s+(\S+)")
        process.kill()
        _, log = process.communicate(timeout=TIMEOUT_S)
    assert len(addresses(log)) == 3
    deadline_s = time.monotonic() + TIMEOUT_S
    while left := [address for address in addresses(log) if listening(address)]:
        assert time.monotonic() < deadline_s, left
        time.sleep(0.1)


def test_attached_to_a_program_it_stops_with_it() -> None:
    with serve("--attached", "--device", "cpu", stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        where = json.loads(until(process, r"(\{.*\})"))
        assert "<title>" in page(where["http"])
        process.stdin.close()
        process.stdin = None
        _, log = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0, log
    assert where["grpc"] in addresses(log)
    assert not any(map(listening, addresses(log)))


def test_a_misspelt_variable_is_named_before_anything_starts() -> None:
    with serve(*FREE, MOSHI_LM_SLOT="2") as process:
        _, log = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 2
    assert "error: MOSHI_LM_SLOT: no such setting" in log
    assert "starting" not in log

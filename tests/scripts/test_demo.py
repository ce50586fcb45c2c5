"""The demo, as a person runs it."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from array import array
from pathlib import Path

import pytest

from clients.cli.audio import Recording, read_wav, write_wav

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).parents[2]
_TIMEOUT_S = 90


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """A second of a quiet saw-tooth."""
    path = tmp_path / "input.wav"
    write_wav(path, Recording(array("h", [20 * (n % 240) - 2400 for n in range(24_000)]), 24_000))
    return path


def _demo(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "scripts.demo", *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _listening(address: str) -> bool:
    host, port = address.split(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


def test_the_demo_answers_every_frame_shows_the_latencies_and_leaves_nothing(recording: Path, tmp_path: Path) -> None:
    output = tmp_path / "reply.wav"
    demo = _demo("--input", str(recording), "--output", str(output))
    printed, progress = demo.communicate(timeout=_TIMEOUT_S)
    assert demo.returncode == 0, progress
    rows = {line.rsplit(maxsplit=3)[0].strip() for line in printed.splitlines() if re.search(r"\d+\.\d +\d+$", line)}
    assert {"encode", "lm", "decode", "turnaround", "in lm step", "in codec encode step"} <= rows
    assert "frames_in=13 frames_out=13" in progress
    reply = read_wav(output)
    assert len(reply.samples) == 13 * 1920
    assert 1_000 < max(reply.samples) < 32_767  # audible, and not clipped
    addresses = re.findall(r"serves at (\S+)", progress)
    assert len(addresses) == 3
    assert not any(_listening(address) for address in addresses)


def test_an_interrupted_demo_leaves_nothing(recording: Path, tmp_path: Path) -> None:
    demo = _demo("--input", str(recording), "--output", str(tmp_path / "reply.wav"))
    assert demo.stderr is not None
    seen = ""
    while "calling with" not in seen:
        line = demo.stderr.readline()
        assert line, f"the demo ended early: {seen}"
        seen += line
    addresses = re.findall(r"serves at (\S+)", seen)
    assert all(_listening(address) for address in addresses)
    demo.send_signal(signal.SIGINT)
    demo.communicate(timeout=_TIMEOUT_S)
    assert demo.returncode == 130
    assert len(addresses) == 3
    assert not any(_listening(address) for address in addresses)


def test_a_checkpoint_that_does_not_exist_is_named() -> None:
    demo = _demo("--checkpoint", "/no/such/folder")
    _printed, progress = demo.communicate(timeout=_TIMEOUT_S)
    assert demo.returncode == 1
    assert "error: checkpoint '/no/such/folder' is neither an existing folder nor a repository" in progress

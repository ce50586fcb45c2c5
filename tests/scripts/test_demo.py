"""The demo, as a person runs it."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pytest

from moshi_cluster.cluster.recorded_callers import read
from tests.cluster.processes import listening

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).parents[2]
_TIMEOUT_S = 200


def _demo(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "scripts.demo", *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_the_demo_asks_shows_the_latencies_and_leaves_nothing_but_both_voices(tmp_path: Path) -> None:
    demo = _demo("--callers", "2", "--output", str(tmp_path / "calls"))
    printed, progress = demo.communicate(timeout=_TIMEOUT_S)
    assert demo.returncode == 0, progress
    recordings = read()[:2]
    shown = " ".join(printed.split())
    assert all(turn["user_text"] in shown for recording in recordings for turn in recording.turns)
    assert f"of {sum(recording.exchanges for recording in recordings)} answers exactly right" in printed
    rows = {line.rsplit(maxsplit=3)[0].strip() for line in printed.splitlines() if re.search(r"\d+\.\d +\d+$", line)}
    assert {"encode", "lm", "decode", "turnaround", "in lm step", "in codec encode step"} <= rows
    for recording, path in zip(recordings, sorted((tmp_path / "calls").iterdir()), strict=True):
        _assert_both_voices(path, len(recording.mu_law) / 8000)
    addresses = re.findall(r"serves at (\S+)", progress)
    assert len(addresses) == 3
    assert not any(listening(address) for address in addresses)


def _assert_both_voices(path: Path, seconds: float) -> None:
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getframerate()) == (2, 24_000)
        assert file.getnframes() > seconds / 2 * 24_000  # a busy machine loses some of the replies
        voices = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2)
    assert (voices.max(axis=0) > 1_000).all()  # audible


def test_an_interrupted_demo_leaves_nothing(tmp_path: Path) -> None:
    demo = _demo("--callers", "1", "--output", str(tmp_path))
    assert demo.stdout is not None
    assert "caller 1" in demo.stdout.readline()
    demo.send_signal(signal.SIGINT)
    _printed, progress = demo.communicate(timeout=_TIMEOUT_S)
    assert demo.returncode == 130, progress
    addresses = re.findall(r"serves at (\S+)", progress)
    assert len(addresses) == 3
    assert not any(listening(address) for address in addresses)


def test_a_checkpoint_that_does_not_exist_is_named() -> None:
    demo = _demo("--checkpoint", "/no/such/folder")
    _printed, progress = demo.communicate(timeout=_TIMEOUT_S)
    assert demo.returncode == 1
    assert "error: checkpoint '/no/such/folder' is neither an existing folder nor a repository" in progress

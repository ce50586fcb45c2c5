"""`moshi-cluster talk --local`: a cluster of one's own, a conversation, and nothing left behind."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from moshi_cluster.clients.cli.recording import DEMO_UTTERANCE, read_wav
from tests.cluster.callers import FRAME_S

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="what runs is read from /proc"),
]

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 200.0
TAIL_S = 0.5


@pytest.fixture
def model(checkpoint: Path, tmp_path: Path) -> Path:
    """The checkpoint under a name that only this test's processes know."""
    link = tmp_path / "model"
    link.symlink_to(checkpoint, target_is_directory=True)
    return link


def talk(model: Path, *options: str) -> subprocess.Popen[str]:
    command = [
        sys.executable,
        "-m",
        "moshi_cluster",
        "talk",
        "--local",
        "--device",
        "cpu",
        "--checkpoint",
        str(model),
    ]
    command += ["--plain", "--input", str(DEMO_UTTERANCE), "--tail-s", str(TAIL_S), *options]
    return subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def services_with(model: Path) -> int:
    """How many processes have been told of it."""
    variable = b"MOSHI_LM_CHECKPOINT=" + os.fsencode(model)
    return sum(variable in environment(process) for process in Path("/proc").glob("[0-9]*"))


def environment(process: Path) -> list[bytes]:
    try:
        return (process / "environ").read_bytes().split(b"\0")
    except OSError:
        return []  # it has ended, or is not ours


def test_one_command_is_a_conversation_and_stops_what_it_started(model: Path, tmp_path: Path) -> None:
    output = tmp_path / "reply.wav"
    with talk(model, "--output", str(output)) as process:
        _, log = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0, log
    assert read_wav(output).seconds >= read_wav(DEMO_UTTERANCE).seconds + TAIL_S - FRAME_S
    assert "everything is stopped" in log
    assert services_with(model) == 0


def test_a_conversation_that_is_killed_leaves_no_services(model: Path) -> None:
    with talk(model) as process:
        assert process.stderr is not None
        while "[talking]" not in (line := process.stderr.readline()):
            assert line, "it ended before it talked"
        assert services_with(model) == 3
        process.kill()
        deadline_s = time.monotonic() + TIMEOUT_S / 2
        while services_with(model) and time.monotonic() < deadline_s:
            time.sleep(0.1)
        assert services_with(model) == 0
        process.stderr.read()

"""streamdouble, a simulator of Twilio Media Streams that is not ours, calls the real processes."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest

from moshi_cluster.audio.g711 import G711_RATE_HZ, MULAW_TO_S16
from moshi_cluster.clients.cli.recording import Recording, write_wav
from moshi_cluster.cluster.local_cluster import Layout, LocalCluster
from moshi_cluster.cluster.recorded_callers import read
from tests.cluster.conftest import PATIENT

STREAMDOUBLE = os.environ.get("MOSHI_STREAMDOUBLE")
pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(STREAMDOUBLE is None, reason="MOSHI_STREAMDOUBLE names no program streamdouble"),
]
SPOKEN_S = 6
# Behind what is said over the greeting the server asks to throw it away, and every mark comes back behind its voice.
BARGE_IN = """
name: interrupt
steps:
  - wait: 0.6
  - say: {audio}
  - expect: audio
  - expect: clear
  - expect: mark
  - expect: no_violations
  - dtmf: "5"
  - hangup
"""


@pytest.fixture(scope="module")
def phoned(checkpoint: Path) -> Iterator[LocalCluster]:
    wire = {"MOSHI_GATEWAY_TELEPHONY": "twilio", "MOSHI_GATEWAY_TELEPHONY_BARGE_IN_MS": "0"}
    with LocalCluster(Layout(str(checkpoint), slots=2), PATIENT | wire) as running:
        yield running


@pytest.fixture
def audio(tmp_path: Path) -> Path:
    """The beginning of a recorded call, as a file that streamdouble reads."""
    spoken = MULAW_TO_S16[np.frombuffer(read()[0].mu_law[: SPOKEN_S * G711_RATE_HZ], np.uint8)]
    write_wav(tmp_path / "call.wav", Recording(spoken, G711_RATE_HZ))
    return tmp_path / "call.wav"


async def streamdouble(*arguments: str | Path) -> str:
    """What it prints; it ends with 0 where all went as it expects."""
    run = await asyncio.to_thread(
        subprocess.run, [str(STREAMDOUBLE), *map(str, arguments)], capture_output=True, text=True, timeout=120
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


def place(cluster: LocalCluster) -> str:
    return f"ws://{urlsplit(cluster.http_url()).netloc}/telephony/twilio"


@pytest.mark.parametrize(
    "impaired", [[], ["--packet-loss", "0.05", "--jitter", "40", "--latency", "60"]], ids=["plain", "impaired"]
)
async def test_it_holds_a_call(phoned: LocalCluster, audio: Path, impaired: list[str]) -> None:
    await streamdouble("call", place(phoned), "--audio", audio, "--param", "seed=1", "--max-drain", "2", *impaired)


async def test_who_speaks_over_the_reply_hears_no_more_of_it_and_marks_follow_their_voice(
    phoned: LocalCluster, audio: Path, tmp_path: Path
) -> None:
    scenario = tmp_path / "interrupt.yaml"
    scenario.write_text(BARGE_IN.format(audio=audio))
    shown = await streamdouble("scenario", scenario, place(phoned))
    assert "expect clear: ok" in shown
    assert "expect no_violations: ok" in shown

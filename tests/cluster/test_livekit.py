"""LiveKit's own client of PersonaPlex against the real processes: a persona, and a model that takes none."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from moshi_cluster.cluster.local_cluster import Layout, LocalCluster
from tests.services.persona_worker import persona_folder

LIVEKIT_PYTHON = os.environ.get("MOSHI_LIVEKIT_PYTHON")
pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(LIVEKIT_PYTHON is None, reason="MOSHI_LIVEKIT_PYTHON names no Python with LiveKit's plugin"),
]
SECONDS = 4.0
SCRIPT = Path(__file__).with_name("livekit_client.py")
KIND_ERROR, KIND_METADATA = (f"Unknown PersonaPlex message type: 0x{kind:02x}" for kind in (5, 4))


async def conversation(cluster: LocalCluster, voice: str) -> dict[str, Any]:
    """What LiveKit's plugin made of it."""
    command = [str(LIVEKIT_PYTHON), str(SCRIPT), urlsplit(cluster.http_url()).netloc, voice]
    run = await asyncio.to_thread(
        subprocess.run, [*command, "you are a teacher", str(SECONDS)], capture_output=True, text=True, timeout=90
    )
    assert run.returncode == 0, run.stderr[-2000:]
    heard: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return heard


@pytest.fixture
def personas(tmp_path: Path) -> Iterator[LocalCluster]:
    with LocalCluster(Layout(str(persona_folder(tmp_path)), slots=2)) as running:
        yield running


@pytest.fixture
def obliging(checkpoint: Path) -> Iterator[LocalCluster]:
    """The demo model, where prompts are passed over."""
    ignore = {"MOSHI_GATEWAY_UNSUPPORTED_PROMPTS": "ignore-with-event"}
    with LocalCluster(Layout(str(checkpoint), slots=2), ignore) as running:
        yield running


async def test_it_holds_a_conversation_with_a_persona(personas: LocalCluster) -> None:
    heard = await conversation(personas, "VOICE0")
    assert heard["samples"] > 24_000  # of 96,000; how many is a matter of how busy this machine is
    assert heard["loudest"] > 0
    assert heard["errors"] == []
    assert set(heard["remarks"]) <= {KIND_METADATA}
    strange = await conversation(personas, "NATF2")
    assert strange["samples"] == 0
    assert KIND_ERROR in strange["remarks"]


async def test_a_model_that_takes_no_prompts_refuses_it(cluster: LocalCluster) -> None:
    heard = await conversation(cluster, "NATF2")
    assert heard["samples"] == 0
    assert set(heard["errors"]) == {"PersonaPlex connection closed unexpectedly"}
    assert KIND_ERROR in heard["remarks"]


async def test_it_talks_with_a_plain_moshi_where_prompts_are_passed_over(obliging: LocalCluster) -> None:
    heard = await conversation(obliging, "NATF2")
    assert heard["samples"] > 24_000
    assert heard["errors"] == []

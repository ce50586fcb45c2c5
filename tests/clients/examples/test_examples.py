"""The examples in six languages hold a call with the real processes, and do what a refusal asks for."""

from __future__ import annotations

import os
import re
import subprocess
import threading
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest

from moshi_cluster.clients.cli.recording import DEMO_UTTERANCE
from moshi_cluster.cluster.default_checkpoint import DEFAULT_CHECKPOINT
from moshi_cluster.cluster.local_cluster import Layout, LocalCluster
from moshi_cluster.v1 import gateway_pb2 as pb
from moshi_cluster.v1 import gateway_pb2_grpc
from tests.clients.examples.builds import BUILDS, EXAMPLES, ROOT, Command

pytestmark = pytest.mark.cluster

PATIENCE_S = 120.0
PAGE = ROOT / "docs/clients.md"
# A busy test machine answers late; nothing is dropped. The one slot is what makes a refusal.
PATIENT = {"MOSHI_GATEWAY_BACKLOG_FRAMES": "250", "MOSHI_GATEWAY_REPLY_BACKLOG_MS": "20000"}


@pytest.fixture(scope="module")
def gateway() -> Iterator[str]:
    """host:port of a gateway that has room for one call."""
    with LocalCluster(Layout(str(DEFAULT_CHECKPOINT), slots=1), PATIENT) as running:
        yield running.address()


@pytest.fixture(scope="module", params=BUILDS)
def example(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Command:
    """The command of one example."""
    return BUILDS[request.param](tmp_path_factory.mktemp(request.param))


def test_an_example_waits_for_its_turn_and_holds_a_call(example: Command, gateway: str, tmp_path: Path) -> None:
    reply = tmp_path / "reply.wav"
    with line_taken(gateway) as hang_up, running(example, gateway, DEMO_UTTERANCE, reply) as program:
        assert program.stderr is not None
        said = ""
        for line in program.stderr:
            said += line
            if "trying again" in line:
                hang_up.set()
        text, _ = program.communicate(timeout=PATIENCE_S)
    assert program.returncode == 0, said
    assert re.search(r"in use: trying again in (1000 ms|1 ?s)\n(.*\n)*.*call [0-9a-f]{32}\n", said)
    assert text.strip()
    with wave.open(str(reply)) as heard, wave.open(str(DEMO_UTTERANCE)) as spoken:
        assert heard.getparams()[:3] == spoken.getparams()[:3]
        assert heard.getnframes() >= spoken.getnframes()
        assert len(set(heard.readframes(heard.getnframes()))) > 100  # a voice


def test_an_example_says_why_it_was_refused(example: Command, gateway: str, tmp_path: Path) -> None:
    odd = tmp_path / "odd.wav"
    with wave.open(str(odd), "wb") as file:
        file.setparams((1, 2, 11025, 0, "NONE", ""))
        file.writeframes(bytes(2000))
    with running(example, gateway, odd, tmp_path / "reply.wav") as program:
        _, said = program.communicate(timeout=PATIENCE_S)
    assert program.returncode != 0
    assert "sample_rate_hz" in said
    assert not (tmp_path / "reply.wav").exists()


def test_the_call_that_the_page_opens_with_is_held(gateway: str, tmp_path: Path) -> None:
    block = re.search(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert block is not None
    script = tmp_path / "first_call.py"
    script.write_text(block[1].replace("localhost:50051", gateway))
    with running(BUILDS["python"](tmp_path)[:1] + [str(script)]) as program:
        text, said = program.communicate(timeout=PATIENCE_S)
    assert program.returncode == 0, said
    assert "reason: REASON_HANGUP" in text
    assert len(text.partition("reason:")[0].strip()) > 3


def test_every_example_is_built_and_is_on_the_page() -> None:
    assert {folder.name for folder in EXAMPLES.iterdir() if folder.is_dir()} - {"__pycache__"} == set(BUILDS)
    page = PAGE.read_text("utf-8")
    assert not [file for file in EXAMPLES.glob("*/*converse*") if f"clients/examples/{file.parent.name}" not in page]


@contextmanager
def line_taken(target: str) -> Iterator[threading.Event]:
    """A caller who holds the only slot until the event is set."""
    hang_up = threading.Event()

    def requests() -> Iterator[pb.ConverseRequest]:
        phone = pb.AudioFormat(encoding=pb.ENCODING_MULAW)
        yield pb.ConverseRequest(start=pb.Start(input_format=phone))
        hang_up.wait(PATIENCE_S)

    with grpc.insecure_channel(target) as channel:
        call = gateway_pb2_grpc.GatewayStub(channel).Converse(requests(), wait_for_ready=True)
        assert next(call).HasField("started")
        try:
            yield hang_up
        finally:
            hang_up.set()
            for _ in call:  # until the gateway has answered everything
                pass


@contextmanager
def running(command: Command, *arguments: str | Path) -> Iterator[subprocess.Popen[str]]:
    """A program that is gone afterwards, whatever happened."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        [*command, *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8", env=environment, cwd=ROOT,
    ) as program:  # fmt: skip
        try:
            yield program
        finally:
            program.kill()

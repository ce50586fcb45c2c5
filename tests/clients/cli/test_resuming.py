"""The command-line clients go on with a call whose line was cut, when they are told to."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from moshi_cluster.__main__ import main
from moshi_cluster.clients.cli.recording import Recording, read_wav, write_wav
from moshi_cluster.clients.telephony.resuming import Attempts, HeardReply, resumed_words
from moshi_cluster.v1 import gateway_pb2
from tests.clients.cli.cut_line import CutLine, cut_line
from tests.clients.cli.talk.test_command import TONE
from tests.services.gateway.api.websocket.chatter import HTTP
from tests.services.gateway.cluster import Cluster, cluster
from tests.services.in_process import eventually

FRAMES = 25
CUT_AFTER_FRAMES = 8
LOST = "(UNAVAILABLE|INTERNAL: Internal error from Core)"
"""To gRPC's asyncio the second, where the end of the line crosses a message (docs/proxies.md)."""


@pytest.fixture
def question(tmp_path: Path) -> Path:
    """Two seconds of a tone."""
    write_wav(tmp_path / "question.wav", Recording(TONE * (FRAMES * 1920 // len(TONE)), 24_000))
    return tmp_path / "question.wav"


async def run(command: list[str], line: CutLine, running: Cluster) -> int:
    """The command in a thread; its line is cut once that many frames were answered."""
    calling = asyncio.create_task(asyncio.to_thread(main, command))
    await eventually(lambda: running.sample("moshi_gateway_frames_total", kind="out") >= CUT_AFTER_FRAMES)
    line.cut()
    return await calling


def resumed(running: Cluster) -> float:
    return running.sample("moshi_gateway_resumptions_total", outcome="memory")


@pytest.mark.parametrize("resumes", [True, False])
async def test_converse_goes_on_where_it_was_cut(
    resumes: bool, question: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reply = question.with_name("reply.wav")
    async with cluster(resume_keep_s=30.0) as running, cut_line(running.target) as line:
        command = ["converse", "--target", line.address, "--input", str(question), "--output", str(reply)]
        code = await run([*command, *(["--resume"] if resumes else [])], line, running)
        assert resumed(running) == resumes
    shown = capsys.readouterr()
    assert code == (0 if resumes else 1)
    if resumes:
        assert re.search(rf"\[lost: {LOST}", shown.err)
        assert "[the conversation goes on after " in shown.err
        assert len(read_wav(reply).samples) >= (FRAMES - 10) * 1920  # all but what was on its way
    else:
        assert re.search(f"error: {LOST}", shown.err)


@pytest.mark.parametrize("kind", ["grpc", "chat"])
async def test_talk_goes_on_where_it_was_cut(kind: str, question: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with cluster(**HTTP) as running:
        target = running.target if kind == "grpc" else running.url.split("/")[2]
        async with cut_line(target) as line:
            whom = line.address if kind == "grpc" else f"http://{line.address}/"
            options = ["--input", str(question), "--tail-s", "0.5", "--resume", "--plain"]
            code = await run(["talk", "--target", whom, *options], line, running)
            await eventually(lambda: resumed(running) == 1)
    shown = capsys.readouterr()
    assert code == 0, shown.err
    assert "the conversation goes on after " in shown.err


async def test_what_is_refused_for_good_is_not_tried_again(question: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with cluster(resume_keep_s=0.01) as running, cut_line(running.target) as line:
        command = ["converse", "--target", line.address, "--input", str(question), "--resume"]
        assert await run([*command, "--output", str(question.with_name("reply.wav"))], line, running) == 1
        assert running.sample("moshi_gateway_resumptions_total", outcome="conversation_unknown") == 1
    assert "error: NOT_FOUND: the conversation is not known" in capsys.readouterr().err


def test_frames_are_counted_over_all_calls_of_a_conversation() -> None:
    reply, started = HeardReply(), gateway_pb2.Started(resume_token="a")
    assert reply.resume is None
    started.output_format.CopyFrom(gateway_pb2.AudioFormat(encoding=gateway_pb2.ENCODING_MULAW, sample_rate_hz=8000))
    reply.begin(started)
    reply.audio(gateway_pb2.ReplyAudio(data=bytes(160), first_sample=6_400 - 160))
    assert (reply.resume.token, reply.resume.heard_frames) == ("a", 10)  # type: ignore[union-attr]
    started.resumption.remembered_frames = 9
    reply.begin(started)
    reply.audio(gateway_pb2.ReplyAudio(data=bytes(700)))
    assert reply.resume.heard_frames == 10  # type: ignore[union-attr]


def test_attempts_end_and_begin_anew_after_each_success() -> None:
    attempts = Attempts()
    delays = list(iter(attempts.delay_s, None))
    assert 30 < sum(delays) < 60
    assert attempts.delay_s() is None
    attempts.succeeded()
    assert attempts.delay_s() == delays[0]


@pytest.mark.parametrize(("lost", "words"), [(0, "after 4.0 s"), (6, "after 4.0 s, 0.48 s are forgotten")])
def test_what_is_left_is_said_in_seconds(lost: int, words: str) -> None:
    assert resumed_words(50, lost) == f"the conversation goes on {words}"

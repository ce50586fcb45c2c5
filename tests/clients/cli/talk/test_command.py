"""Whole conversations from the command line, with files, against a gateway in this process."""

from __future__ import annotations

import asyncio
import math
import socket
import sys
import wave
from array import array
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from moshi_cluster.__main__ import main
from moshi_cluster.clients.cli import commands
from moshi_cluster.clients.cli.recording import Recording, read_wav, write_wav
from moshi_cluster.clients.cli.talk import chat_connection, grpc_connection
from moshi_cluster.clients.cli.talk.connection import CallOptions, Ready
from moshi_cluster.clients.cli.talk.conversation import Recorders, State, hold
from moshi_cluster.clients.cli.talk.sound import FileSound
from moshi_cluster.clients.telephony.playback import silence
from moshi_cluster.services.gateway.metrics import HOPS
from tests.services.gateway.api.websocket.chatter import HTTP
from tests.services.gateway.cluster import Cluster, cluster

FRAMES = 5
TONE = array("h", [6000, 6000, 6000, 6000, -6000, -6000, -6000, -6000])  # Opus for voices lets nothing constant pass


@pytest.fixture
def question(tmp_path: Path) -> Path:
    """Four and a half frames of a tone."""
    path = tmp_path / "question.wav"
    write_wav(path, Recording(TONE * ((FRAMES * 1920 - 960) // len(TONE)), 24_000))
    return path


def target_of(running: Cluster, kind: str) -> str:
    return running.target if kind == "grpc" else running.url


def encrypted(folder: Path) -> dict[str, Any]:
    return {**HTTP, "tls_dir": str(folder), "tls_self_signed": True, "grpc_tls": True}


async def talk(target: str, question: Path, *more: str) -> int:
    """The command line in a thread, against a server on this loop."""
    command = ["talk", "--target", target, "--input", str(question), "--tail-s", "0", *more]
    return await asyncio.to_thread(main, command)


@pytest.mark.parametrize("kind", ["grpc", "chat"])
async def test_every_frame_is_answered_and_both_voices_are_kept(
    kind: str, question: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output, both = tmp_path / "reply.wav", tmp_path / "both.wav"
    async with cluster(**HTTP) as running:
        code = await talk(target_of(running, kind), question, "--output", str(output), "--record", str(both))
        await running.until_free()
    printed = capsys.readouterr()
    assert code == 0, printed.err
    assert printed.out == " 0 2 4\n"
    assert len(read_wav(output).samples) == pytest.approx(FRAMES * 1920, abs=64)
    with wave.open(str(both)) as file:
        assert (file.getnchannels(), file.getnframes()) == (2, FRAMES * 1920 - 960)
        assert array("h", file.readframes(file.getnframes()))[0 : 2 * len(TONE) : 2] == TONE
    assert "0.4 s said" in printed.err
    assert f"written: {output}" in printed.err


@pytest.mark.parametrize("rate_hz", [8_000, 44_100])
async def test_a_recording_of_another_rate_is_said_at_its_own_pitch_and_length(rate_hz: int, tmp_path: Path) -> None:
    question, both = tmp_path / "question.wav", tmp_path / "both.wav"
    tone = (round(8000 * math.sin(2 * math.pi * 440 * n / rate_hz)) for n in range(rate_hz * 2 // 5))
    write_wav(question, Recording(array("h", tone), rate_hz))
    async with cluster(**HTTP) as running:
        assert await talk(running.target, question, "--record", str(both)) == 0
    with wave.open(str(both)) as file:
        said = array("h", file.readframes(file.getnframes()))[0::2]
    assert len(said) == 24_000 * 2 // 5
    for n in range(2_400, 7_200):
        assert said[n] == pytest.approx(8000 * math.sin(2 * math.pi * 440 * n / 24_000), abs=80)


@pytest.mark.parametrize("kind", ["grpc", "chat"])
async def test_in_loopback_callers_hear_themselves(kind: str, question: Path, tmp_path: Path) -> None:
    output = tmp_path / "reply.wav"
    async with cluster(**HTTP) as running:
        assert await talk(target_of(running, kind), question, "--output", str(output), "--loopback") == 0
    heard = read_wav(output).samples
    assert max(heard[1920:3840]) > max(TONE) / 2


@pytest.mark.parametrize("kind", ["grpc", "chat"])
async def test_a_full_cluster_is_said(kind: str, question: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with (
        cluster(max_sessions=1, queue_clients=0, **HTTP) as running,
        chat_connection.chat_connection(running.url, CallOptions()) as first,
        aclosing(first.hear()) as heard,
    ):
        while not isinstance(await anext(heard), Ready):
            pass
        assert await talk(target_of(running, kind), question) == commands.EXIT_CALL_FAILED
    assert "error: " in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["grpc", "chat"])
async def test_an_encrypted_gateway_that_asks_for_a_token_is_talked_to(
    kind: str, question: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("another\nsecret\n")
    trust = ("--tls", "--ca", str(tmp_path / "tls" / "cert.pem"))
    async with cluster(**encrypted(tmp_path / "tls"), token_file=str(tokens)) as running:
        target = target_of(running, kind)
        for shown, problem in (["--token", "Secret"], "is not known here"), ([], "asks for a token"):
            assert await talk(target, question, *trust, *shown) == commands.EXIT_CALL_FAILED
            assert problem in capsys.readouterr().err
        assert await talk(target, question, *trust, "--token", "secret", "--plain") == 0
        assert capsys.readouterr().out == " 0 2 4\n"
        monkeypatch.setattr("moshi_cluster.clients.telephony.stream.CONNECT_TIMEOUT_S", 0.5)
        assert (
            await talk(target, question, "--tls", "--token", "secret") == commands.EXIT_CALL_FAILED
        )  # trusts nobody new
        assert "no gateway answers at" in capsys.readouterr().err


async def test_one_call_with_a_recording_too(question: Path, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("secret")
    command = ["converse", "--input", str(question), "--output", str(tmp_path / "reply.wav"), "--tls", "--ca"]
    command += [str(tmp_path / "cert.pem"), "--target"]
    async with cluster(**encrypted(tmp_path), token_file=str(tokens)) as running:
        assert await asyncio.to_thread(main, [*command, running.target, "--token", "secret"]) == 0
        assert await asyncio.to_thread(main, [*command, running.target]) == commands.EXIT_CALL_FAILED


@pytest.mark.parametrize(
    ("kind", "connect"), [("grpc", grpc_connection.grpc_connection), ("chat", chat_connection.chat_connection)]
)
async def test_the_latency_of_every_hop_is_shown(kind: str, connect: Any) -> None:
    async with cluster(**HTTP) as running:
        state = State(target_of(running, kind))
        async with connect(state.target, CallOptions()) as connection:
            await hold(connection, FileSound(silence(24_000 * 5 // 2), 0), state, Recorders())
    assert set(state.latency_ms) == set(HOPS)
    assert state.counters["frames_in"] > 0
    assert state.session_id


@pytest.mark.parametrize("scheme", ["", "http://"])
def test_a_gateway_that_takes_the_connection_and_says_nothing_is_given_up(
    scheme: str, question: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("moshi_cluster.clients.telephony.stream.CONNECT_TIMEOUT_S", 0.3)
    monkeypatch.setattr(chat_connection, "_CONNECT_TIMEOUT_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        target = f"{scheme}127.0.0.1:{silent.getsockname()[1]}"
        assert main(["talk", "--target", target, "--input", str(question)]) == commands.EXIT_CALL_FAILED
    assert "no gateway answers at" in capsys.readouterr().err


def test_without_sound_it_says_so_and_offers_files(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    assert main(["talk", "--target", "localhost:1"]) == commands.EXIT_BAD_INPUT
    assert "--input QUESTION.wav --output REPLY.wav" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "talk to whom?"),
        (["--target", "localhost:1", "--input", "absent.wav"], "absent.wav: cannot be read (No such file"),
        (["--target", "ftp://x", "--input", "QUESTION"], "ftp://x: expected host:port, or a URL"),
        (["--target", "localhost:1", "--token", "a\nb", "--input", "QUESTION"], "token: expected printable ASCII"),
        (["--target", "localhost:1", "--tls", "--ca", "absent.pem", "--input", "QUESTION"], "absent.pem: no usable"),
        (["--target", "wss://localhost:1", "--ca", "absent.pem", "--input", "QUESTION"], "absent.pem: no usable"),
    ],
)
def test_what_cannot_work_is_named(
    arguments: list[str], message: str, question: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [str(question) if argument == "QUESTION" else argument for argument in arguments]
    assert main(["talk", *given]) == commands.EXIT_BAD_INPUT
    assert message in capsys.readouterr().err

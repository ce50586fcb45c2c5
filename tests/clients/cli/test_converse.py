"""Calls against a gateway that echoes, refuses or falls silent."""

from __future__ import annotations

import asyncio
import time
from array import array
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from moshi_cluster.__main__ import main
from moshi_cluster.clients.cli import commands
from moshi_cluster.clients.cli.recording import Recording, read_wav, write_wav
from moshi_cluster.clients.telephony import stream
from moshi_cluster.v1 import common_pb2, gateway_pb2, gateway_pb2_grpc

Response = gateway_pb2.ConverseResponse


class Echo(gateway_pb2_grpc.GatewayServicer):
    """Sends every packet back, says a word per packet, and remembers when packets came."""

    def __init__(self) -> None:
        self.start: gateway_pb2.Start | None = None
        self.arrivals_s: list[float] = []

    async def Converse(
        self, requests: AsyncIterator[gateway_pb2.ConverseRequest], context: grpc.aio.ServicerContext
    ) -> AsyncIterator[Response]:
        samples = 0
        async for request in requests:
            if request.HasField("start"):
                self.start = request.start
                yield Response(started=gateway_pb2.Started(session_id="s", output_format=request.start.output_format))
            else:
                self.arrivals_s.append(time.monotonic())
                yield Response(audio=gateway_pb2.ReplyAudio(data=request.audio.data, first_sample=samples))
                yield Response(text=gateway_pb2.Text(piece=" word"))
        counters = gateway_pb2.Counters(frames_in=len(self.arrivals_s))
        yield Response(ended=gateway_pb2.Ended(reason=gateway_pb2.Ended.REASON_HANGUP, counters=counters))


class Full(gateway_pb2_grpc.GatewayServicer):
    """Refuses with a hint."""

    async def Converse(
        self, requests: AsyncIterator[gateway_pb2.ConverseRequest], context: grpc.aio.ServicerContext
    ) -> AsyncIterator[Response]:
        await anext(requests)
        status = status_pb2.Status(code=grpc.StatusCode.RESOURCE_EXHAUSTED.value[0], message="no free slot")
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMilliseconds(700)
        status.details.add().Pack(retry)
        await context.abort_with_status(rpc_status.to_status(status))
        yield Response()


class Silent(gateway_pb2_grpc.GatewayServicer):
    """Never answers."""

    async def Converse(
        self, requests: AsyncIterator[gateway_pb2.ConverseRequest], context: grpc.aio.ServicerContext
    ) -> AsyncIterator[Response]:
        await asyncio.Event().wait()
        yield Response()


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "input.wav"
    write_wav(path, Recording(array("h", range(-800, 800)), 8000))  # 200 ms
    return path


async def _call(servicer: gateway_pb2_grpc.GatewayServicer, recording: Path, *arguments: str) -> tuple[int, Path]:
    """The command line in a thread, against a server on this loop."""
    server = grpc.aio.server()
    gateway_pb2_grpc.add_GatewayServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    output = recording.with_name("reply.wav")
    try:
        command = ["converse", "--target", f"127.0.0.1:{port}", "--input", str(recording), "--output", str(output)]
        return await asyncio.to_thread(main, [*command, *arguments]), output
    finally:
        await server.stop(None)


@pytest.mark.parametrize("format_name", ["s16le", "f32le"])
async def test_the_reply_is_written_and_the_text_printed(
    format_name: str, recording: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, output = await _call(Echo(), recording, "--format", format_name)
    assert code == 0
    assert read_wav(output) == read_wav(recording)
    printed = capsys.readouterr()
    assert printed.out == " word" * 10 + "\n"
    assert "call ended (hangup): frames_in=10" in printed.err


async def test_companded_audio_comes_back_as_samples(recording: Path) -> None:
    echo = Echo()
    code, output = await _call(echo, recording, "--format", "mulaw", "--packet-ms", "30")
    assert code == 0
    assert len(echo.arrivals_s) == 7  # 6 full packets and one of 20 ms
    pairs = zip(read_wav(output).samples, read_wav(recording).samples, strict=True)
    assert all(abs(heard - said) <= 20 for heard, said in pairs)


async def test_packets_never_leave_before_their_time(recording: Path) -> None:
    echo = Echo()
    before_s = time.monotonic()
    await _call(echo, recording)
    assert all(at_s - before_s >= index * 0.020 - 0.001 for index, at_s in enumerate(echo.arrivals_s))
    assert len(echo.arrivals_s) == 10


async def test_settings_reach_the_gateway(recording: Path) -> None:
    echo = Echo()
    await _call(
        echo, recording, "--seed", "7", "--greedy", "--rate", "24000", "--role", "a teacher", "--voice", "NATF2"
    )
    assert echo.start is not None
    assert echo.start.sampling.seed == 7
    assert echo.start.persona == common_pb2.Persona(text_prompt="a teacher", voice="NATF2")
    assert echo.start.sampling.HasField("text_temperature")
    assert (echo.start.sampling.text_temperature, echo.start.sampling.audio_temperature) == (0.0, 0.0)
    assert echo.start.input_format.sample_rate_hz == 8000
    assert echo.start.output_format.sample_rate_hz == 24000


async def test_nothing_is_said_about_sampling_unless_asked(recording: Path) -> None:
    echo = Echo()
    await _call(echo, recording)
    assert echo.start is not None
    assert echo.start.sampling == common_pb2.Sampling()


async def test_a_refusal_is_shown_with_its_hint(recording: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, output = await _call(Full(), recording)
    assert code == commands.EXIT_CALL_FAILED
    assert "error: RESOURCE_EXHAUSTED: no free slot (try again in 700 ms)" in capsys.readouterr().err
    assert not output.exists()


async def test_a_silent_gateway_is_given_up(
    recording: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "REPLY_TIMEOUT_S", 0.2)
    code, _output = await _call(Silent(), recording)
    assert code == commands.EXIT_CALL_FAILED
    assert "the gateway was silent for 0.2 s" in capsys.readouterr().err


def test_an_absent_gateway_is_named(
    recording: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "CONNECT_TIMEOUT_S", 0.2)
    arguments = ["converse", "--target", "127.0.0.1:1", "--input", str(recording)]
    assert main(arguments) == commands.EXIT_CALL_FAILED
    assert "no gateway answers at 127.0.0.1:1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--input", "absent.wav"], "absent.wav: cannot be read (No such file"),
        (["--format", "mulaw"], "mulaw needs 8000 Hz, found 24000 Hz"),
        (["--output", "no/such/reply.wav"], "no/such/reply.wav: no such folder"),
    ],
)
def test_bad_input_is_named_before_any_call(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["converse", "--target", "127.0.0.1:1", *arguments]) == commands.EXIT_BAD_INPUT
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--packet-ms", "0"], "--packet-ms: 0 is not between 1 and 1000"),
        (["--seed", "-1"], "--seed: -1 is not between"),
        (["--seed", "x"], "--seed: invalid integer value: 'x'"),
    ],
)
def test_bad_arguments_are_named(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["converse", "--target", "127.0.0.1:1", *arguments])
    assert message in capsys.readouterr().err

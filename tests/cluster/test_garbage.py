"""Whatever callers send, they get a clear status and nobody else notices."""

from __future__ import annotations

import asyncio
import contextlib
import random
import struct
from collections.abc import Sequence

import grpc
import pytest

from moshi_cluster.cluster.local_cluster import LocalCluster
from moshi_cluster.v1 import codec_pb2, codec_pb2_grpc, gateway_pb2, gateway_pb2_grpc, lm_pb2, lm_pb2_grpc
from tests.cluster.callers import Line, call, start

pytestmark = pytest.mark.cluster

LINE = Line("f32le", 24_000)
CONVERSE = "/moshi_cluster.v1.Gateway/Converse"


async def _status(stream: grpc.aio.StreamStreamCall, messages: Sequence[object]) -> tuple[grpc.StatusCode, str]:
    """What a stream ends with when these messages are sent on it."""
    with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):  # the server has seen enough
        for message in messages:
            await stream.write(message)
        await stream.done_writing()
    async with asyncio.timeout(20):
        with contextlib.suppress(grpc.aio.AioRpcError):
            while await stream.read() is not grpc.aio.EOF:
                pass  # the status comes behind the replies
        return await stream.code(), await stream.details()


def _audio(data: bytes) -> gateway_pb2.ConverseRequest:
    return gateway_pb2.ConverseRequest(audio=gateway_pb2.Audio(data=data))


def _start(**changes: object) -> gateway_pb2.ConverseRequest:
    return gateway_pb2.ConverseRequest(start=start(LINE, **changes))


NAN = struct.pack("<f", float("nan")) * 480
UNKNOWN_ENCODING = gateway_pb2.AudioFormat(encoding=99, sample_rate_hz=8000)
UNKNOWN_RATE = gateway_pb2.AudioFormat(encoding=gateway_pb2.ENCODING_PCM_S16LE, sample_rate_hz=11_025)

TO_THE_GATEWAY = [
    ([_start(), _audio(bytes(3))], "audio.data"),
    ([_start(), _audio(NAN)], "audio.data"),
    ([_start(input_format=UNKNOWN_ENCODING)], "start.input_format.encoding"),
    ([_start(output_format=UNKNOWN_RATE)], "start.output_format.sample_rate_hz"),
    ([_start(reply_packet_ms=7)], "start.reply_packet_ms"),
    ([_start(), _start(call_label="another")], "start"),
    ([_audio(bytes(640))], "start"),
    ([_start(), gateway_pb2.ConverseRequest()], "message"),
    ([], "start"),
]


@pytest.mark.parametrize(("messages", "field"), TO_THE_GATEWAY)
async def test_a_malformed_message_is_refused_by_the_fields_name(
    cluster: LocalCluster, messages: list[gateway_pb2.ConverseRequest], field: str
) -> None:
    async with grpc.aio.insecure_channel(cluster.address()) as channel:
        code, details = await _status(gateway_pb2_grpc.GatewayStub(channel).Converse(), messages)
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert details.startswith(f"{field}:")


async def test_ten_megabytes_and_random_bytes_are_refused(cluster: LocalCluster) -> None:
    noise = random.Random(1)
    async with grpc.aio.insecure_channel(cluster.address()) as channel:
        code, _ = await _status(gateway_pb2_grpc.GatewayStub(channel).Converse(), [_start(), _audio(bytes(10_000_000))])
        assert code == grpc.StatusCode.RESOURCE_EXHAUSTED
        raw = channel.stream_stream(CONVERSE)
        for size in (1, 10, 1000):
            code, _ = await _status(raw(), [noise.randbytes(size)])
            assert code not in (grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE)


async def test_workers_refuse_malformed_frames_too(cluster: LocalCluster) -> None:
    async with grpc.aio.insecure_channel(cluster.address("codec-0")) as channel:
        codec = codec_pb2_grpc.CodecStub(channel)
        for data in (bytes(7679), NAN * 4, b""):
            code, details = await _status(codec.Encode(), [codec_pb2.PcmFrame(pcm_f32le=data)])
            assert (code, details.split(":")[0]) == (grpc.StatusCode.INVALID_ARGUMENT, "pcm_f32le")
        for codes in ([1] * 7, [1] * 7 + [1_000_000]):
            code, details = await _status(codec.Decode(), [codec_pb2.CodeFrame(codes=codes)])
            assert (code, details.split(":")[0]) == (grpc.StatusCode.INVALID_ARGUMENT, "codes")
    async with grpc.aio.insecure_channel(cluster.address("lm-0")) as channel:
        generate = lm_pb2_grpc.LmStub(channel).Generate
        unopened = lm_pb2.GenerateRequest(frame=lm_pb2.GenerateRequest.UserFrame(codes=[1] * 8))
        code, _ = await _status(generate(), [unopened])
        assert code == grpc.StatusCode.INVALID_ARGUMENT


async def test_garbage_beside_a_call_does_not_change_a_bit_of_it(cluster: LocalCluster) -> None:
    undisturbed = await call(cluster.address(), LINE, 2.0)

    async def throw_garbage() -> None:
        async with grpc.aio.insecure_channel(cluster.address()) as channel:
            for messages, _ in TO_THE_GATEWAY * 3:
                await _status(gateway_pb2_grpc.GatewayStub(channel).Converse(), messages)

    disturbed, _ = await asyncio.gather(call(cluster.address(), LINE, 2.0), throw_garbage())
    assert disturbed.audio == undisturbed.audio
    assert disturbed.ended is not None and disturbed.ended.counters.frames_out == 25

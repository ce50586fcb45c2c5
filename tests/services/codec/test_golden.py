"""The codec service gives what the original implementation gives, frame by frame, whoever else is on the worker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import numpy as np
import pytest
import pytest_asyncio

from moshi_cluster.services.codec.server import CodecService
from moshi_cluster.v1 import codec_pb2, codec_pb2_grpc
from tests.services.golden_workers import code_frames, golden_codec, golden_tensors, pcm_frames, samples_of
from tests.services.in_process import eventually, read, read_all, serving, status_of

pytestmark = [pytest.mark.parity, pytest.mark.usefixtures("nothing_swallowed")]


@pytest.fixture(params=["off", "on"], ids=["plain step", "static step"])
async def codec(request: pytest.FixtureRequest) -> CodecService:
    return golden_codec(slots=2, static_step=request.param)


@pytest_asyncio.fixture
async def stub(codec: CodecService) -> AsyncIterator[codec_pb2_grpc.CodecStub]:
    async with serving(codec) as listener:
        yield codec_pb2_grpc.CodecStub(listener.channel)


def codes_of(replies: list[codec_pb2.CodeFrame]) -> list[list[int]]:
    return [list(reply.codes) for reply in replies]


def golden_codes() -> list[list[int]]:
    codes: list[list[int]] = golden_tensors("mimi_tiny/outputs")["codes_stream"][0, :8].T.tolist()
    return codes


async def test_an_encode_stream_gives_the_golden_codes(stub: codec_pb2_grpc.CodecStub) -> None:
    replies = await read_all(stub.Encode(iter(pcm_frames("user_a"))))
    assert codes_of(replies) == golden_codes()


async def test_a_decode_stream_gives_the_golden_audio(stub: codec_pb2_grpc.CodecStub) -> None:
    replies = await read_all(stub.Decode(iter(code_frames(golden_codes()))))
    expected = golden_tensors("mimi_tiny/outputs")["pcm_stream_8"].flatten().numpy()
    np.testing.assert_allclose(samples_of(replies), expected, atol=1e-4, rtol=0)


async def test_streams_side_by_side_give_what_each_gives_alone(
    codec: CodecService, stub: codec_pb2_grpc.CodecStub
) -> None:
    alone = await read_all(stub.Encode(iter(pcm_frames("user_b"))))
    await eventually(lambda: codec.live_sessions == 0)
    together = await asyncio.gather(*(read_all(stub.Encode(iter(pcm_frames(name)))) for name in ("user_a", "user_b")))
    assert codes_of(together[0]) == golden_codes()
    assert codes_of(together[1]) == codes_of(alone)


async def test_the_next_owner_of_a_slot_starts_from_silence(
    codec: CodecService, stub: codec_pb2_grpc.CodecStub
) -> None:
    held = stub.Encode()  # one of the two slots, so that the next streams share the other
    await held.initial_metadata()
    leaving = stub.Encode()
    for frame in pcm_frames("user_b")[:5]:
        await leaving.write(frame)
        await read(leaving)
    leaving.cancel()
    await eventually(lambda: codec.live_sessions == 1)
    replies = await read_all(stub.Encode(iter(pcm_frames("user_a"))))
    assert codes_of(replies) == golden_codes()
    held.cancel()


async def test_a_stream_refused_for_nan_leaves_its_neighbour_exact(stub: codec_pb2_grpc.CodecStub) -> None:
    neighbour, broken = stub.Encode(), stub.Encode()
    codes = []
    nan = codec_pb2.PcmFrame(pcm_f32le=np.full(1920, np.nan, "<f4").tobytes(), frame_index=3)
    for index, frame in enumerate(pcm_frames("user_a")[:12]):
        await neighbour.write(frame)
        if index < 3:
            await broken.write(pcm_frames("user_b")[index])
        if index == 3:
            await broken.write(nan)
        codes.append(list((await read(neighbour)).codes))
    await status_of(broken)
    assert codes == golden_codes()[:12]
    neighbour.cancel()

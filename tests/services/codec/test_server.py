"""The codec service over real gRPC, around a model that computes nothing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import grpc
import numpy as np
import pytest
import pytest_asyncio
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from prometheus_client import generate_latest

from moshi_cluster.services.common.rpc_stream import SLOT_HELD
from moshi_cluster.v1 import codec_pb2, codec_pb2_grpc
from tests.services.fake_workers import BINS, FRAME_SAMPLES, FakeCodec, code_frame, pcm_frame, pcm_of
from tests.services.in_process import eventually, few_turns, listening, read, read_all, serving, status_of

pytestmark = pytest.mark.usefixtures("nothing_swallowed")
SLOTS = 2


@pytest_asyncio.fixture
async def codec() -> AsyncIterator[FakeCodec]:
    codec = FakeCodec(SLOTS, inflight_frames=3)
    yield codec
    codec.encoder.let_all()
    codec.decoder.let_all()


@pytest_asyncio.fixture
async def stub(codec: FakeCodec) -> AsyncIterator[codec_pb2_grpc.CodecStub]:
    async with serving(codec) as listener:
        yield codec_pb2_grpc.CodecStub(listener.channel)
        codec.encoder.let_all()
        codec.decoder.let_all()


async def test_every_pcm_frame_is_answered_by_one_frame_of_codes(stub: codec_pb2_grpc.CodecStub) -> None:
    replies = await read_all(stub.Encode(pcm_frame(index, index % 8) for index in range(20)))
    assert [reply.frame_index for reply in replies] == list(range(20))
    assert [list(reply.codes[:2]) for reply in replies] == [[index, index % 8] for index in range(20)]
    assert all(reply.timing.batch_size == 1 for reply in replies)


async def test_every_frame_of_codes_is_answered_by_one_pcm_frame(stub: codec_pb2_grpc.CodecStub) -> None:
    replies = await read_all(stub.Decode(code_frame(index, index) for index in range(20)))
    assert [reply.frame_index for reply in replies] == list(range(20))
    assert [reply.pcm_f32le for reply in replies] == [pcm_of(index) for index in range(20)]


async def test_a_stream_without_frames_ends_well(stub: codec_pb2_grpc.CodecStub) -> None:
    assert await read_all(stub.Encode(iter(()))) == []


async def test_half_close_flushes_what_is_in_flight(codec: FakeCodec, stub: codec_pb2_grpc.CodecStub) -> None:
    codec.encoder.hold()
    call = stub.Encode()
    await call.write(pcm_frame(0))
    await codec.encoder.step_entered()
    await call.write(pcm_frame(1))
    await call.done_writing()
    codec.encoder.let_all()
    assert [reply.frame_index for reply in await read_all(call)] == [0, 1]
    assert await call.code() == grpc.StatusCode.OK


@pytest.mark.parametrize("method", ["Encode", "Decode"])
async def test_the_slot_is_announced_before_the_first_frame(stub: codec_pb2_grpc.CodecStub, method: str) -> None:
    call = getattr(stub, method)()
    metadata = await call.initial_metadata()
    assert set(SLOT_HELD) <= set(metadata)
    await call.done_writing()
    assert await read_all(call) == []


async def test_streams_are_batched_together(codec: FakeCodec, stub: codec_pb2_grpc.CodecStub) -> None:
    first, second = stub.Encode(), stub.Encode()
    for call in (first, second):
        await call.initial_metadata()
    codec.encoder.hold()
    await first.write(pcm_frame(0))
    await codec.encoder.step_entered()
    await second.write(pcm_frame(0))
    await first.write(pcm_frame(1))
    sessions = codec.model.programs[0].sessions
    await eventually(lambda: all(session.waiting for session in sessions))
    codec.encoder.let_all()
    await read(first)
    assert (await read(first)).timing.batch_size == 2
    assert (await read(second)).timing.batch_size == 2
    for call in (first, second):
        call.cancel()


def broken_pcm(value: float) -> codec_pb2.PcmFrame:
    samples = np.zeros(FRAME_SAMPLES, "<f4")
    samples[-1] = value
    return codec_pb2.PcmFrame(pcm_f32le=samples.tobytes(), frame_index=1)


BAD_FRAMES = [
    (
        "Encode",
        codec_pb2.PcmFrame(pcm_f32le=bytes(7679), frame_index=1),
        "pcm_f32le: must be one frame of 32 bit floats",
    ),
    ("Encode", codec_pb2.PcmFrame(frame_index=1), "pcm_f32le: must be one frame of 32 bit floats"),
    ("Encode", broken_pcm(float("nan")), "pcm_f32le: samples must be finite"),
    ("Encode", broken_pcm(float("-inf")), "pcm_f32le: samples must be finite"),
    ("Encode", broken_pcm(8.5), "pcm_f32le: samples must be finite"),
    ("Encode", pcm_frame(0), "frame_index: must count up from the first frame without gaps"),
    ("Encode", pcm_frame(2), "frame_index: must count up from the first frame without gaps"),
    ("Decode", codec_pb2.CodeFrame(codes=[0] * 7, frame_index=1), "codes: must be one code for each codebook"),
    ("Decode", codec_pb2.CodeFrame(codes=[0] * 9, frame_index=1), "codes: must be one code for each codebook"),
    ("Decode", codec_pb2.CodeFrame(frame_index=1), "codes: must be one code for each codebook"),
    ("Decode", code_frame(1, BINS), "codes: must be codes that the codebooks have"),
    ("Decode", code_frame(2), "frame_index: must count up from the first frame without gaps"),
]


@pytest.mark.parametrize(("method", "bad", "message"), BAD_FRAMES)
async def test_a_bad_frame_ends_its_own_stream_and_disturbs_no_neighbour(
    codec: FakeCodec, stub: codec_pb2_grpc.CodecStub, method: str, bad: object, message: str
) -> None:
    good_frame = pcm_frame if method == "Encode" else code_frame
    neighbour, broken = getattr(stub, method)(), getattr(stub, method)()
    for call in (neighbour, broken):
        await call.write(good_frame(0))
        await read(call)
    await broken.write(bad)
    status, details = await status_of(broken)
    assert status == grpc.StatusCode.INVALID_ARGUMENT
    assert details.startswith(message)
    await neighbour.write(good_frame(1))
    assert (await read(neighbour)).frame_index == 1
    await eventually(lambda: codec.live_sessions == 1)
    await neighbour.done_writing()
    assert await read_all(neighbour) == []


async def test_bytes_that_are_no_message_are_refused(codec: FakeCodec) -> None:
    async with serving(codec) as listener:
        call = listener.channel.stream_stream("/moshi_cluster.v1.Codec/Encode")(iter([b"\xff\xff"]))
        assert await status_of(call) == (grpc.StatusCode.INVALID_ARGUMENT, "message: is not of the rpc's type")
        await eventually(lambda: codec.live_sessions == 0)


async def test_a_full_worker_refuses_with_a_hint_when_to_try_again(
    codec: FakeCodec, stub: codec_pb2_grpc.CodecStub
) -> None:
    held = [stub.Encode() for _ in range(SLOTS)]
    for call in held:
        await call.initial_metadata()
    refused = stub.Encode()
    with pytest.raises(grpc.aio.AioRpcError, match="all encode slots are in use") as caught:
        await refused.read()
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert not set(SLOT_HELD) & set(await refused.initial_metadata())
    status = rpc_status.from_call(caught.value)
    assert status is not None
    assert status.details[0].Is(error_details_pb2.RetryInfo.DESCRIPTOR)
    assert b'moshi_codec_rejections_total{program="encode"} 1.0' in generate_latest(codec.registry)

    decoding = stub.Decode()  # has slots of its own
    await decoding.initial_metadata()
    for call in (*held, decoding):
        call.cancel()
    await eventually(lambda: codec.live_sessions == 0)


async def test_a_cancelled_stream_frees_its_slot_whatever_it_was_doing(
    codec: FakeCodec, stub: codec_pb2_grpc.CodecStub
) -> None:
    idle = stub.Encode()
    await idle.initial_metadata()
    idle.cancel()
    await eventually(lambda: codec.live_sessions == 0)

    codec.encoder.hold()
    stepping = stub.Encode()
    for index in range(5):  # more than may be in flight: the server waits for credits
        await stepping.write(pcm_frame(index))
    await codec.encoder.step_entered()
    stepping.cancel()
    await few_turns()
    assert codec.live_sessions == 1, "the step in flight still writes to the slot"
    codec.encoder.let_all()
    await eventually(lambda: codec.live_sessions == 0)
    assert codec.encoder.specs == {}


async def test_a_stream_that_waits_for_credits_is_held_back_not_buffered(
    codec: FakeCodec, stub: codec_pb2_grpc.CodecStub
) -> None:
    codec.encoder.hold()
    call = stub.Encode()
    for index in range(8):
        await call.write(pcm_frame(index))
    await codec.encoder.step_entered()
    (session,) = codec.model.programs[0].sessions
    await eventually(lambda: len(session.waiting) == 2)  # inflight_frames = 3, one of them in the step
    await few_turns()
    assert len(session.waiting) == 2
    codec.encoder.let_all()
    await call.done_writing()
    assert len(await read_all(call)) == 8


async def test_a_loading_worker_is_unavailable() -> None:
    codec = FakeCodec()
    async with listening(codec) as listener:
        stub = codec_pb2_grpc.CodecStub(listener.channel)
        for call in (stub.Encode(), stub.Decode()):
            assert await status_of(call) == (grpc.StatusCode.UNAVAILABLE, "the worker is still loading")


async def test_a_draining_worker_refuses_new_streams_and_finishes_old_ones(
    codec: FakeCodec, stub: codec_pb2_grpc.CodecStub
) -> None:
    old = stub.Encode()
    await old.initial_metadata()
    codec.drain(grace_s=5)
    assert await status_of(stub.Encode()) == (grpc.StatusCode.UNAVAILABLE, "the worker is draining")
    idle = asyncio.create_task(codec.until_idle())
    await old.write(pcm_frame(0))
    assert (await read(old)).frame_index == 0
    assert not idle.done()
    await old.done_writing()
    assert await read_all(old) == []
    await idle


async def test_a_stream_that_sends_nothing_ends() -> None:
    codec = FakeCodec(idle_timeout_s=0.1)
    async with serving(codec) as listener:
        call = codec_pb2_grpc.CodecStub(listener.channel).Encode()
        assert await status_of(call) == (
            grpc.StatusCode.DEADLINE_EXCEEDED,
            "no frame came and no reply was read",
        )
        await eventually(lambda: codec.live_sessions == 0)


async def test_a_stream_that_never_sends_a_frame_ends_sooner() -> None:
    codec = FakeCodec(first_frame_timeout_s=0.1)
    async with serving(codec) as listener:
        stub = codec_pb2_grpc.CodecStub(listener.channel)
        for call in (stub.Encode(), stub.Decode()):
            assert await status_of(call) == (grpc.StatusCode.DEADLINE_EXCEEDED, "no first frame came")
        await eventually(lambda: codec.live_sessions == 0)


async def test_when_the_grace_is_over_every_stream_ends_as_unavailable() -> None:
    codec = FakeCodec()
    async with serving(codec) as listener:
        stub = codec_pb2_grpc.CodecStub(listener.channel)
        streams = (stub.Encode(), stub.Decode())
        for stream in streams:
            await stream.initial_metadata()
        codec.drain(grace_s=0.1)
        for stream in streams:
            assert await status_of(stream) == (
                grpc.StatusCode.UNAVAILABLE,
                "the worker stops, and the time to finish is over",
            )
        await codec.until_idle()


async def test_a_stream_that_reads_nothing_loses_its_slot() -> None:
    codec = FakeCodec(idle_timeout_s=1.0)
    async with serving(codec) as listener:
        call = codec_pb2_grpc.CodecStub(listener.channel).Decode()
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):  # it may end before all is sent
            for index in range(2000):  # little to send, 15 MB to read
                await call.write(code_frame(index))
        await eventually(lambda: codec.live_sessions == 0)
        status, details = await status_of(call)
        assert status == grpc.StatusCode.DEADLINE_EXCEEDED
        assert details == "no frame came and no reply was read"


async def test_an_engine_failure_ends_every_stream_as_internal(
    codec: FakeCodec, stub: codec_pb2_grpc.CodecStub
) -> None:
    stepping, idle = stub.Encode(), stub.Decode()
    await idle.initial_metadata()
    codec.encoder.failure = RuntimeError("device lost")
    await stepping.write(pcm_frame(0))
    for call in (stepping, idle):
        assert await status_of(call) == (grpc.StatusCode.INTERNAL, "the engine failed: RuntimeError")
    assert str(await codec.failed) == "device lost"

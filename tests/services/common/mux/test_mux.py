"""Multiplexed streams behave as streams of their own: the gateway's end against real workers over real gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from moshi_cluster.services.common.mux.buffers import INBOX_MESSAGES
from moshi_cluster.services.common.mux.client import MuxClient, MuxStream, StreamEnded
from moshi_cluster.services.common.mux.server import MuxServicer
from moshi_cluster.services.common.session_stream import Method, SessionStream
from moshi_cluster.v1 import codec_pb2, codec_pb2_grpc, lm_pb2, trunk_pb2, trunk_pb2_grpc
from tests.services.fake_workers import FakeCodec, FakeLm, code_frame, open_request, pcm_frame, user_frame
from tests.services.in_process import PATIENCE_S, Listening, eventually, lasting_address, read_all, serving

pytestmark = pytest.mark.usefixtures("nothing_swallowed")

ENCODE, DECODE, GENERATE = (f"/moshi_cluster.v1.{name}" for name in ("Codec/Encode", "Codec/Decode", "Lm/Generate"))


@asynccontextmanager
async def connected(worker: Any, address: str = "127.0.0.1:0") -> AsyncIterator[tuple[MuxClient, Listening]]:
    async with serving(worker, address=address) as listener:
        mux = MuxClient(listener.channel, "worker", listener.target)
        try:
            yield mux, listener
        finally:
            await mux.close()


async def all_of(stream: MuxStream[Any]) -> list[Any]:
    """Every message until the stream ends well."""
    async with asyncio.timeout(PATIENCE_S):
        messages = []
        while (message := await stream.read()) is not None:
            messages.append(message)
        return messages


async def end_of(stream: MuxStream[Any]) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(StreamEnded) as ended:
        await all_of(stream)
    return ended.value.code, str(ended.value)


def encode(mux: MuxClient) -> MuxStream[codec_pb2.CodeFrame]:
    return mux.open(ENCODE, codec_pb2.CodeFrame)


def without_times(messages: list[Any]) -> list[Any]:
    for message in messages:
        message.ClearField("timing")
    return messages


async def test_many_streams_on_a_connection_answer_as_streams_of_their_own_do() -> None:
    async with connected(FakeCodec(8)) as (mux, listener):

        async def multiplexed(level: int) -> list[Any]:
            stream = encode(mux)
            await stream.until_held()
            for index in range(20):
                await stream.write(pcm_frame(index, (level + index) % 8))
            stream.done_writing()
            return without_times(await all_of(stream))

        async def alone(level: int) -> list[Any]:
            frames = (pcm_frame(index, (level + index) % 8) for index in range(20))
            return without_times(await read_all(codec_pb2_grpc.CodecStub(listener.channel).Encode(frames)))

        expected = [await alone(level) for level in range(4)]
        assert await asyncio.gather(*map(multiplexed, range(4))) == expected
        assert len(expected[0]) == 20


async def next_of_kind(call: Any, kind: str) -> list[int]:
    """The streams of the next bundle that carries such items."""
    while True:
        bundle = await call.read()
        if streams := [item.stream for item in bundle.items if item.WhichOneof("item") == kind]:
            return streams


async def test_the_headers_come_before_anything_was_sent() -> None:
    async with connected(FakeCodec(4)) as (_, listener):
        call = trunk_pb2_grpc.TrunkStub(listener.channel).Carry()
        async with asyncio.timeout(PATIENCE_S):
            await call.initial_metadata()
        call.cancel()


async def test_replies_of_one_step_share_a_bundle() -> None:
    codec = FakeCodec(4)
    async with connected(codec) as (_, listener):
        call = trunk_pb2_grpc.TrunkStub(listener.channel).Carry()
        codec.encoder.hold()
        opens = [trunk_pb2.TrunkItem(stream=number, open=ENCODE) for number in range(1, 5)]
        frame = pcm_frame(0).SerializeToString()
        frames = [trunk_pb2.TrunkItem(stream=number, message=frame) for number in range(1, 5)]
        await call.write(trunk_pb2.TrunkBundle(items=opens))
        held: list[int] = []
        while len(held) < 4:  # from then on every session may step
            held += await next_of_kind(call, "held")
        await call.write(trunk_pb2.TrunkBundle(items=frames[:1]))
        await codec.encoder.step_entered()
        await call.write(trunk_pb2.TrunkBundle(items=frames[1:]))
        await eventually(lambda: sum(len(s.waiting) for s in codec.model.programs[0].sessions) == 3)
        codec.encoder.let_one()
        assert await next_of_kind(call, "message") == [1]
        codec.encoder.let_all()
        replies = await next_of_kind(call, "message")
        if len(replies) < 3:  # the loop had its turn in between
            replies += await next_of_kind(call, "message")
        assert replies == [2, 3, 4]
        call.cancel()


async def test_a_refused_stream_ends_without_a_slot_and_the_others_go_on() -> None:
    async with connected(FakeCodec(1)) as (mux, _):
        held, refused = encode(mux), encode(mux)
        await held.until_held()
        with pytest.raises(StreamEnded) as ended:
            await refused.until_held()
        assert ended.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        with pytest.raises(StreamEnded):
            await refused.write(pcm_frame(0))
        await held.write(pcm_frame(0))
        held.done_writing()
        assert len(await all_of(held)) == 1


async def test_a_malformed_frame_ends_its_own_stream_only_and_names_the_field() -> None:
    async with connected(FakeCodec(2)) as (mux, _):
        good, bad, wrong_type = encode(mux), encode(mux), mux.open(DECODE, codec_pb2.PcmFrame)
        await bad.write(pcm_frame(7))
        assert await end_of(bad) == (
            grpc.StatusCode.INVALID_ARGUMENT,
            "frame_index: must count up from the first frame without gaps",
        )
        await wrong_type.write(trunk_pb2.TrunkItem(stream=1, open="not a frame of codes"))
        code, text = await end_of(wrong_type)
        assert code is grpc.StatusCode.INVALID_ARGUMENT and text.startswith(("message:", "codes:"))
        await good.write(pcm_frame(0))
        good.done_writing()
        assert len(await all_of(good)) == 1


async def test_cancel_frees_the_slot_and_forgets_the_stream() -> None:
    codec = FakeCodec(2)
    async with connected(codec) as (mux, _):
        streams: list[MuxStream[Any]] = [encode(mux), mux.open(DECODE, codec_pb2.PcmFrame)]
        for stream in streams:
            await stream.until_held()
        assert codec.live_sessions == 2
        for stream in streams:
            stream.cancel()
            assert (await end_of(stream))[0] is grpc.StatusCode.CANCELLED
        await eventually(lambda: not codec.live_sessions)
        assert mux._connection is not None and not mux._connection._streams


async def test_when_the_gateway_goes_every_slot_of_its_connection_is_free() -> None:
    codec = FakeCodec(4)
    async with connected(codec) as (mux, _):
        for _ in range(4):
            await encode(mux).until_held()
        await mux.close()
        await eventually(lambda: not codec.live_sessions)


async def test_when_the_worker_goes_every_stream_says_so_and_the_next_one_finds_its_successor() -> None:
    codec = FakeCodec(2)
    async with connected(codec, lasting_address()) as (mux, listener):
        lost = encode(mux)
        await lost.until_held()
        await listener.server.stop(None)
        assert (await end_of(lost))[0] is grpc.StatusCode.UNAVAILABLE
        async with serving(FakeCodec(2), address=listener.target):
            await listener.channel.channel_ready()
            found = encode(mux)
            await found.until_held()
            found.cancel()


async def test_a_worker_out_of_reach_is_unavailable() -> None:
    async with grpc.aio.insecure_channel("127.0.0.1:1") as channel:
        mux = MuxClient(channel, "worker", "127.0.0.1:1")
        with pytest.raises(StreamEnded) as ended:
            await encode(mux).until_held()
        assert ended.value.code is grpc.StatusCode.UNAVAILABLE
        await mux.close()


async def test_a_draining_worker_finishes_the_streams_and_then_ends_the_connection() -> None:
    lm = FakeLm(2)
    async with connected(lm) as (mux, _):
        stream = mux.open(GENERATE, lm_pb2.GenerateResponse)
        await stream.write(open_request())
        await stream.until_held()
        lm.drain(5.0)
        await stream.write(user_frame(0))
        stream.done_writing()
        kinds = [message.WhichOneof("message") for message in await all_of(stream)]
        assert sorted(kinds) == ["frame", "go_away", "opened"]
        await eventually(lambda: mux._connection is not None and mux._connection.is_lost)


async def test_a_stream_of_unread_messages_is_ended_for_it() -> None:
    codec = FakeCodec(2, inflight_frames=1)
    async with connected(codec) as (mux, _):
        codec.encoder.hold()
        greedy, modest = encode(mux), mux.open(DECODE, codec_pb2.PcmFrame)
        for index in range(INBOX_MESSAGES + 3):
            await greedy.write(pcm_frame(index))
        assert await end_of(greedy) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "too many unread messages")
        codec.encoder.let_all()
        await modest.write(code_frame(0))
        modest.done_writing()
        assert len(await all_of(modest)) == 1


class Narrow(FakeCodec):
    """Takes two streams on a connection."""

    def register(self, server: grpc.aio.Server) -> Sequence[str]:
        servicer = MuxServicer({ENCODE: Method(self.encode, codec_pb2.PcmFrame)}, self.draining, streams_max=2)
        trunk_pb2_grpc.add_TrunkServicer_to_server(servicer, server)
        return ["moshi_cluster.v1.Trunk"]


async def test_unknown_methods_and_numbers_in_use_are_refused() -> None:
    async with serving(Narrow(8)) as listener:
        call = trunk_pb2_grpc.TrunkStub(listener.channel).Carry()
        wanted = [(1, "/no.such/Method"), (2, ENCODE), (2, ENCODE), (3, ENCODE), (4, ENCODE)]
        items = [trunk_pb2.TrunkItem(stream=number, open=name) for number, name in wanted]
        await call.write(trunk_pb2.TrunkBundle(items=items))
        statuses: list[tuple[int, int]] = []
        while len(statuses) < 3:
            bundle = await call.read()
            statuses += [(item.stream, item.status.code) for item in bundle.items if item.HasField("status")]
        assert statuses == [
            (1, grpc.StatusCode.UNIMPLEMENTED.value[0]),
            (2, grpc.StatusCode.INVALID_ARGUMENT.value[0]),
            (4, grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]),
        ]
        call.cancel()


async def test_items_for_streams_that_are_over_are_ignored() -> None:
    async with serving(FakeCodec(2)) as listener:
        call = trunk_pb2_grpc.TrunkStub(listener.channel).Carry()
        stray = [
            trunk_pb2.TrunkItem(stream=9, message=b"?"),
            trunk_pb2.TrunkItem(stream=9, done_writing=True),
            trunk_pb2.TrunkItem(stream=9, cancel=True),
            trunk_pb2.TrunkItem(stream=9),
            trunk_pb2.TrunkItem(stream=1, open=ENCODE),
            trunk_pb2.TrunkItem(stream=1, done_writing=True),
        ]
        await call.write(trunk_pb2.TrunkBundle(items=stray))
        seen: list[trunk_pb2.TrunkItem] = []
        while not seen or seen[-1].WhichOneof("item") != "status":
            seen += (await call.read()).items
        assert [(item.stream, item.WhichOneof("item")) for item in seen] == [(1, "held"), (1, "status")]
        assert seen[-1].status.code == 0
        call.cancel()


async def test_a_handler_that_fails_is_internal_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(FakeCodec):
        async def encode(self, stream: SessionStream[Any, Any]) -> None:
            raise ZeroDivisionError

    async with connected(Broken()) as (mux, _):
        assert await end_of(encode(mux)) == (grpc.StatusCode.INTERNAL, "the handler failed")
    assert "ZeroDivisionError" in caplog.text

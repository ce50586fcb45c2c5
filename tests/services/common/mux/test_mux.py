"""Streams on a trunk behave as streams of their own: the gateway's end against real workers over real gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from moshi_cluster.services.common.mux.buffers import INBOX_MESSAGES
from moshi_cluster.services.common.mux.client import MuxClient, MuxStream, StreamEnded
from moshi_cluster.v1 import codec_pb2, codec_pb2_grpc, lm_pb2, trunk_pb2, trunk_pb2_grpc
from tests.services.fake_workers import FakeCodec, FakeLm, code_frame, open_request, pcm_frame, user_frame
from tests.services.in_process import Listening, eventually, read_all, serving

pytestmark = pytest.mark.usefixtures("nothing_swallowed")

ENCODE, DECODE, GENERATE = (f"/moshi_cluster.v1.{name}" for name in ("Codec/Encode", "Codec/Decode", "Lm/Generate"))


@asynccontextmanager
async def trunk_to(worker: Any) -> AsyncIterator[tuple[MuxClient, Listening]]:
    async with serving(worker) as listener:
        trunk = MuxClient(listener.channel)
        try:
            yield trunk, listener
        finally:
            await trunk.close()


async def all_of(stream: MuxStream) -> list[Any]:
    """Every message until the stream ends well."""
    async with asyncio.timeout(20):
        messages = []
        while (message := await stream.read()) is not None:
            messages.append(message)
        return messages


async def end_of(stream: MuxStream) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(StreamEnded) as ended:
        await all_of(stream)
    return ended.value.code, str(ended.value)


def encode(trunk: MuxClient) -> MuxStream:
    return trunk.open(ENCODE, codec_pb2.CodeFrame)


def without_times(messages: list[Any]) -> list[Any]:
    for message in messages:
        message.ClearField("timing")
    return messages


async def test_many_streams_on_a_trunk_answer_as_streams_of_their_own_do() -> None:
    async with trunk_to(FakeCodec(8)) as (trunk, listener):

        async def on_trunk(level: int) -> list[Any]:
            stream = encode(trunk)
            await stream.until_held()
            for index in range(20):
                await stream.write(pcm_frame(index, (level + index) % 8))
            stream.done_writing()
            return without_times(await all_of(stream))

        async def alone(level: int) -> list[Any]:
            frames = (pcm_frame(index, (level + index) % 8) for index in range(20))
            return without_times(await read_all(codec_pb2_grpc.CodecStub(listener.channel).Encode(frames)))

        expected = [await alone(level) for level in range(4)]
        assert await asyncio.gather(*map(on_trunk, range(4))) == expected
        assert len(expected[0]) == 20


async def next_of_kind(call: Any, kind: str) -> list[int]:
    """The streams of the next bundle that carries such items."""
    while True:
        bundle = await call.read()
        if streams := [item.stream for item in bundle.items if item.WhichOneof("item") == kind]:
            return streams


async def test_replies_of_one_step_share_a_bundle() -> None:
    codec = FakeCodec(4)
    async with trunk_to(codec) as (_, listener):
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
        assert await next_of_kind(call, "message") == [2, 3, 4]
        call.cancel()


async def test_a_refused_stream_ends_without_a_slot_and_the_others_go_on() -> None:
    async with trunk_to(FakeCodec(1)) as (trunk, _):
        held, refused = encode(trunk), encode(trunk)
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
    async with trunk_to(FakeCodec(2)) as (trunk, _):
        good, bad, wrong_type = encode(trunk), encode(trunk), trunk.open(DECODE, codec_pb2.PcmFrame)
        await bad.write(pcm_frame(7))
        assert await end_of(bad) == (grpc.StatusCode.INVALID_ARGUMENT, "frame_index: expected frame 0, got 7")
        await wrong_type.write(trunk_pb2.TrunkItem(stream=1, open="not a frame of codes"))
        code, text = await end_of(wrong_type)
        assert code is grpc.StatusCode.INVALID_ARGUMENT and text.startswith(("message:", "codes:"))
        await good.write(pcm_frame(0))
        good.done_writing()
        assert len(await all_of(good)) == 1


async def test_cancel_frees_the_slot_and_forgets_the_stream() -> None:
    codec = FakeCodec(2)
    async with trunk_to(codec) as (trunk, _):
        streams = [encode(trunk), trunk.open(DECODE, codec_pb2.PcmFrame)]
        for stream in streams:
            await stream.until_held()
        assert codec.live_sessions == 2
        for stream in streams:
            stream.cancel()
            assert (await end_of(stream))[0] is grpc.StatusCode.CANCELLED
        await eventually(lambda: not codec.live_sessions)
        assert trunk._connection is not None and not trunk._connection._streams


async def test_when_the_gateway_goes_every_slot_of_its_trunk_is_free() -> None:
    codec = FakeCodec(4)
    async with trunk_to(codec) as (trunk, _):
        for _ in range(4):
            await encode(trunk).until_held()
        await trunk.close()
        await eventually(lambda: not codec.live_sessions)


async def test_when_the_worker_goes_every_stream_says_so_and_the_next_one_finds_its_successor() -> None:
    codec = FakeCodec(2)
    async with trunk_to(codec) as (trunk, listener):
        lost = encode(trunk)
        await lost.until_held()
        await listener.server.stop(None)
        assert (await end_of(lost))[0] is grpc.StatusCode.UNAVAILABLE
        async with trunk_to(FakeCodec(2)) as (_, other):
            trunk._channel = other.channel
            found = encode(trunk)
            await found.until_held()
            found.cancel()


async def test_a_worker_out_of_reach_is_unavailable() -> None:
    async with grpc.aio.insecure_channel("127.0.0.1:1") as channel:
        trunk = MuxClient(channel)
        with pytest.raises(StreamEnded) as ended:
            await encode(trunk).until_held()
        assert ended.value.code is grpc.StatusCode.UNAVAILABLE
        await trunk.close()


async def test_a_draining_worker_finishes_the_streams_and_then_ends_the_trunk() -> None:
    lm = FakeLm(2)
    async with trunk_to(lm) as (trunk, _):
        stream = trunk.open(GENERATE, lm_pb2.GenerateResponse)
        await stream.write(open_request())
        await stream.until_held()
        lm.drain(5.0)
        await stream.write(user_frame(0))
        stream.done_writing()
        kinds = [message.WhichOneof("message") for message in await all_of(stream)]
        assert sorted(kinds) == ["frame", "go_away", "opened"]
        await eventually(lambda: trunk._connection is not None and trunk._connection.is_lost)


async def test_a_stream_of_unread_messages_is_ended_for_it() -> None:
    codec = FakeCodec(2, inflight_frames=1)
    async with trunk_to(codec) as (trunk, _):
        codec.encoder.hold()
        greedy, modest = encode(trunk), trunk.open(DECODE, codec_pb2.PcmFrame)
        for index in range(INBOX_MESSAGES + 3):
            await greedy.write(pcm_frame(index))
        assert await end_of(greedy) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "too many unread messages")
        codec.encoder.let_all()
        await modest.write(code_frame(0))
        modest.done_writing()
        assert len(await all_of(modest)) == 1


async def test_unknown_methods_and_numbers_in_use_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moshi_cluster.services.common.mux.server._STREAMS_MAX", 2)
    async with serving(FakeCodec(8)) as listener:
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


async def test_a_handler_that_fails_is_internal_and_logged(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(FakeCodec):
        async def Encode(self, request_iterator: Any, context: Any) -> None:
            raise ZeroDivisionError

    async with trunk_to(Broken()) as (trunk, _):
        assert await end_of(encode(trunk)) == (grpc.StatusCode.INTERNAL, "the handler failed")
    assert "ZeroDivisionError" in caplog.text

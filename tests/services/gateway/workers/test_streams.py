"""A call's three streams: slots on all of them or none, whatever happens."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import Any

import numpy as np
import pytest

from moshi_cluster.services.common.errors import EngineFailed, InvalidInput, NoFreeSlot, SessionError, Unavailable
from moshi_cluster.services.common.session_stream import SessionStream
from moshi_cluster.services.gateway.workers import streams as worker_streams
from moshi_cluster.services.gateway.workers.opening import Opening, OpeningLimits
from moshi_cluster.services.gateway.workers.pool import WorkerPool
from moshi_cluster.services.gateway.workers.streams import CallStreams, open_codec, open_lm
from moshi_cluster.services.gateway.workers.worker import Worker
from moshi_cluster.v1 import codec_pb2, common_pb2, lm_pb2
from tests.services.fake_workers import FRAME_SAMPLES
from tests.services.gateway.cluster import Cluster, EchoCodec, EchoLm, cluster
from tests.services.in_process import PATIENCE_S, eventually

pytestmark = pytest.mark.usefixtures("nothing_swallowed")

SAMPLING = common_pb2.Sampling(seed=1)
SILENCE = np.zeros(FRAME_SAMPLES, np.float32)


def pools(all_of_it: Cluster) -> tuple[WorkerPool, WorkerPool]:
    return all_of_it.manager.fleet.codec, all_of_it.manager.fleet.lm


class SilentLm(EchoLm):
    """Takes the stream and says nothing until it may go on."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = asyncio.Event()
        self.left = asyncio.Event()
        self.go_on = asyncio.Event()

    async def generate(self, stream: SessionStream[Any, Any]) -> None:
        self.entered.set()
        try:
            await self.go_on.wait()
            await super().generate(stream)
        finally:
            self.left.set()


async def test_three_slots_are_held_and_frames_pass() -> None:
    async with cluster() as all_of_it:
        codec, lm = all_of_it.workers
        streams = await CallStreams.open(*pools(all_of_it), Opening(SAMPLING))
        assert (codec.live_sessions, lm.live_sessions) == (2, 1)
        for index in range(3):
            streams.encode.send_pcm(SILENCE)
            codes = await streams.encode.read()
            assert codes is not None
            streams.lm.send_codes(codes.codes)
            reply = await streams.lm.read()
            assert reply is not None
            streams.decode.send_codes(reply.frame.moshi_codes)
            pcm = await streams.decode.read()
            assert pcm is not None
            assert codes.frame_index == reply.frame.frame_index == pcm.frame_index == index
        for stream in (streams.encode, streams.lm, streams.decode):
            stream.done_writing()
            assert await stream.read() is None
        await all_of_it.until_free()


@pytest.mark.parametrize(("context", "told"), [(7, 7), (0, None)])
async def test_a_worker_gets_as_much_of_the_history_as_it_looks_back_on(context: int, told: int | None) -> None:
    asked: list[int | None] = []

    def last(frames: int | None) -> tuple[int, list[lm_pb2.HistoryFrame]]:
        asked.append(frames)
        return 40, [lm_pb2.HistoryFrame(text_token=3, moshi_codes=[1] * 8, user_codes=[2] * 8)]

    lm = EchoLm(context=context)
    async with cluster(lms=[lm]) as all_of_it:
        streams = await CallStreams.open(*pools(all_of_it), Opening(SAMPLING, last))
        assert asked == [told]
        (spec,) = lm.runner.specs.values()
        assert spec.history.tolist() == [[3, *[1] * 8, *[2] * 8]]
        assert spec.earlier_frames == 40
        streams.cancel()
        await all_of_it.until_free()


async def test_cancel_gives_every_slot_back() -> None:
    async with cluster() as all_of_it:
        streams = await CallStreams.open(*pools(all_of_it), Opening(SAMPLING))
        streams.cancel()
        await all_of_it.until_free()


@pytest.mark.parametrize(
    ("workers", "refusal"),
    [
        ({"lms": [EchoLm]}, "every lm slot is in use|all lm slots are in use"),
        ({"codecs": [EchoCodec]}, "every codec slot is in use|all (en|de)code slots are in use"),
    ],
)
async def test_when_one_stream_is_refused_the_others_slots_are_given_back(
    workers: dict[str, list[Any]], refusal: str
) -> None:
    full = {name: [make(1) for make in makes] for name, makes in workers.items()}
    async with cluster(**full) as all_of_it:
        held = await CallStreams.open(*pools(all_of_it), Opening(SAMPLING))
        with pytest.raises(NoFreeSlot, match=refusal):
            await CallStreams.open(*pools(all_of_it), Opening(SAMPLING))
        await eventually(lambda: sum(worker.live_sessions for worker in all_of_it.workers) == 3)
        held.cancel()
        await all_of_it.until_free()


async def test_an_opening_that_is_cancelled_gives_back_what_it_had() -> None:
    silent = SilentLm()
    async with cluster(lms=[silent]) as all_of_it:
        opening = asyncio.create_task(CallStreams.open(*pools(all_of_it), Opening(SAMPLING)))
        await silent.entered.wait()
        await eventually(lambda: all_of_it.workers[0].live_sessions == 2)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        await silent.left.wait()
        await all_of_it.until_free()


async def test_an_opening_that_is_cancelled_twice_gives_back_what_it_had() -> None:
    silent = SilentLm()
    async with cluster(lms=[silent]) as all_of_it:
        opening = asyncio.create_task(CallStreams.open(*pools(all_of_it), Opening(SAMPLING)))
        await silent.entered.wait()
        await eventually(lambda: all_of_it.workers[0].live_sessions == 2)
        opening.cancel()
        await asyncio.sleep(0)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        await all_of_it.until_free()


def only_for(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on the limits that are given hold for this lm: the others may be slow on a busy machine."""
    patient = OpeningLimits(held_s=PATIENCE_S, ready_s=PATIENCE_S)

    def open_on(worker: Worker, session: Opening, limits: OpeningLimits) -> Any:
        return open_lm(worker, session, limits if worker.address == address else patient)

    monkeypatch.setattr(worker_streams, "open_lm", open_on)
    monkeypatch.setattr(worker_streams, "open_codec", lambda worker, limits: open_codec(worker, patient))


async def test_a_worker_that_does_not_answer_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    silent = SilentLm()
    async with cluster(lms=[silent, EchoLm(2)]) as all_of_it:
        only_for(all_of_it.listening[1].target, monkeypatch)
        await eventually(lambda: sum(worker.takes_sessions for worker in pools(all_of_it)[1]._workers.values()) == 2)
        streams = await CallStreams.open(*pools(all_of_it), Opening(SAMPLING), limits=OpeningLimits(held_s=2.0))
        assert silent.entered.is_set()
        assert all_of_it.workers[2].live_sessions == 1
        streams.cancel()
        await all_of_it.until_free()


@pytest.mark.parametrize("codecs", [1, 2, 3])
async def test_several_codecs_hold_as_many_calls_as_they_have_slots(codecs: int) -> None:
    async with cluster([EchoCodec(4) for _ in range(codecs)], [EchoLm(32)]) as all_of_it:
        codec, lm = pools(all_of_it)
        await eventually(lambda: len(codec.usable) == codecs)
        held = [await CallStreams.open(codec, lm, Opening(SAMPLING)) for _ in range(4 * codecs)]
        assert [worker.live_sessions for worker in all_of_it.workers[:codecs]] == [8] * codecs
        with pytest.raises(NoFreeSlot, match="codec"):
            await CallStreams.open(codec, lm, Opening(SAMPLING))
        for streams in held:
            streams.cancel()
        await all_of_it.until_free()


async def test_an_lm_whose_engine_stands_still_is_passed_over_and_then_asked_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limits = OpeningLimits(held_s=PATIENCE_S, ready_s=1.0)
    stuck, well = EchoLm(16), EchoLm(8)
    go_on, prepare = threading.Event(), stuck.runner.prepare
    monkeypatch.setattr(stuck.runner, "prepare", lambda slot: go_on.wait(20) and prepare(slot))
    async with cluster(lms=[stuck, well]) as all_of_it:
        only_for(all_of_it.listening[1].target, monkeypatch)
        codec, lm = pools(all_of_it)
        await eventually(lambda: len(lm.usable) == 2)
        held = [await CallStreams.open(codec, lm, Opening(SAMPLING), limits=limits) for _ in range(3)]
        assert well.live_sessions == 3
        assert stuck.live_sessions == 1, "asked again"
        go_on.set()
        for streams in held:
            streams.cancel()
        await all_of_it.until_free()


class Answering(EchoCodec):
    """An encoder that ends the stream after its first answer."""

    def __init__(self, error: SessionError | None) -> None:
        super().__init__()
        self._error = error
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def encode(self, stream: SessionStream[Any, Any]) -> None:
        await stream.held()
        await anext(stream.requests)
        await self.go_on.wait()
        await stream.write(codec_pb2.CodeFrame(codes=[1] * 8))
        if self._error is not None:
            raise self._error


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (None, Unavailable),
        (Unavailable("draining"), Unavailable),
        (EngineFailed("broken"), Unavailable),
        (NoFreeSlot("full"), NoFreeSlot),
        (InvalidInput("pcm_f32le", "too short"), SessionError),
    ],
)
async def test_a_stream_that_ended_says_why_on_the_next_write(
    said: SessionError | None, expected: type[SessionError]
) -> None:
    async with cluster([Answering(said)]) as all_of_it:
        streams = await CallStreams.open(*pools(all_of_it), Opening(SAMPLING))
        streams.encode.send_pcm(SILENCE)
        await streams.encode.read()
        with contextlib.suppress(SessionError):
            assert await streams.encode.read() is None
        with pytest.raises(SessionError, match="^encode: ") as error:
            streams.encode.send_pcm(SILENCE)
        assert type(error.value) is expected
        streams.encode.done_writing()
        streams.cancel()
        await all_of_it.until_free()


async def test_an_lm_that_does_not_open_the_session_is_unavailable() -> None:
    class Confused(EchoLm):
        async def generate(self, stream: SessionStream[Any, Any]) -> None:
            await stream.held()
            await stream.write(lm_pb2.GenerateResponse(go_away=lm_pb2.GenerateResponse.GoAway()))

    async with cluster(lms=[Confused()]) as all_of_it:
        with pytest.raises(Unavailable, match="lm: the lm worker did not open the session"):
            await CallStreams.open(*pools(all_of_it), Opening(SAMPLING))
        await all_of_it.until_free()

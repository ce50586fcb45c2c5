"""The codec in front of a Triton that comes, goes, stands still and changes: real gRPC, models that compute nothing."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import grpc
import pytest
from prometheus_client import CollectorRegistry

pytest.importorskip("tritonclient", reason="no tritonclient: pip install '.[triton]'")

from moshi_cluster.cluster.ports import free_ports
from moshi_cluster.services.common.rpc_stream import SLOT_HELD
from moshi_cluster.v1 import codec_pb2_grpc
from tests.services.codec.triton.codec_behind import codec_and_triton, codec_behind, make_service
from tests.services.codec.triton.fake_triton import FINGERPRINT, SLOTS, FakeTriton, listening
from tests.services.fake_workers import code_frame, pcm_frame, pcm_of
from tests.services.in_process import PATIENCE_S, eventually, few_turns, read, read_all, serving, status_of
from tests.services.in_process import listening as service_listening

pytestmark = pytest.mark.usefixtures("nothing_swallowed")

NOT_READY = (grpc.StatusCode.UNAVAILABLE, "Triton is not ready")
LOST = (NOT_READY, (grpc.StatusCode.UNAVAILABLE, "Triton is lost"))


async def test_every_frame_is_answered_as_by_the_other_backend() -> None:
    async with codec_and_triton(FakeTriton()) as codec:
        codes = await read_all(codec.stub.Encode(pcm_frame(index, index % 8) for index in range(20)))
        assert [reply.frame_index for reply in codes] == list(range(20))
        assert [list(reply.codes[:2]) for reply in codes] == [[index, index % 8] for index in range(20)]
        pcm = await read_all(codec.stub.Decode(code_frame(index, index) for index in range(20)))
        assert [reply.pcm_f32le for reply in pcm] == [pcm_of(index) for index in range(20)]


async def test_a_sequence_begins_with_start_and_ends_with_end() -> None:
    triton = FakeTriton()
    async with codec_and_triton(triton) as codec:
        await read_all(codec.stub.Encode(pcm_frame(index) for index in range(3)))
        await eventually(lambda: codec.service.live_sessions == 0)
    assert triton.encode.seen == [(0, True, False), (1, False, False), (2, False, False), (3, False, True)]
    assert triton.encode.sequences == {}


async def test_a_stream_without_frames_is_not_known_to_triton() -> None:
    triton = FakeTriton()
    async with codec_and_triton(triton) as codec:
        call = codec.stub.Encode()
        assert set(SLOT_HELD) <= set(await call.initial_metadata())
        await call.done_writing()
        assert await read_all(call) == []
        await eventually(lambda: codec.service.live_sessions == 0)
    assert triton.encode.seen == []


async def test_a_stream_that_ends_as_soon_as_it_has_begun_leaves_nothing_behind() -> None:
    triton = FakeTriton()
    async with codec_and_triton(triton) as codec:
        engine = codec.service.require_open("encode")
        engine.close(engine.open("encode"))
        await eventually(lambda: codec.service.live_sessions == 0)
    assert triton.encode.seen == []


async def test_frames_leave_as_fast_as_the_bound_in_flight_allows() -> None:
    triton = FakeTriton()
    async with codec_and_triton(triton, inflight_frames=5) as codec:
        triton.encode.gate.clear()
        call = codec.stub.Encode()
        for index in range(12):
            await call.write(pcm_frame(index))
        (session,) = codec.service._engine._carried  # type: ignore[union-attr]
        await eventually(lambda: session._unanswered == 5)
        await few_turns()
        assert session._unanswered == 5
        triton.let_all()
        await call.done_writing()
        assert len(await read_all(call)) == 12


async def test_the_gateway_is_told_the_same_as_by_the_other_backend() -> None:
    async with codec_and_triton(FakeTriton()) as codec:
        held = codec.stub.Encode()
        await held.initial_metadata()
        report = await codec.capacity()
        assert (report.service, report.slots_total, report.slots_used) == ("codec", SLOTS, 1)
        assert report.checkpoint == FINGERPRINT
        assert (report.user_codebooks, report.moshi_codebooks, report.codebook_size) == (8, 8, 64)
        held.cancel()
        await eventually(lambda: codec.service.live_sessions == 0)


async def test_every_slot_taken_is_refused_here_and_never_waits_in_triton() -> None:
    async with codec_and_triton(FakeTriton(), slots=1) as codec:
        held = codec.stub.Decode()
        await held.initial_metadata()
        status, details = await status_of(codec.stub.Decode())
        assert (status, details) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "all decode slots are in use")
        held.cancel()


async def test_a_slot_is_free_again_only_when_triton_has_ended_the_sequence() -> None:
    triton = FakeTriton()
    async with codec_and_triton(triton) as codec:
        call = codec.stub.Encode()
        await call.write(pcm_frame(0))
        await read(call)
        triton.encode.gate.clear()
        call.cancel()
        await eventually(lambda: triton.encode.seen[-1] == (1, False, True))
        assert codec.service.live_sessions == 1
        triton.let_all()
        await eventually(lambda: codec.service.live_sessions == 0)


async def test_times_are_those_that_the_model_and_triton_tell() -> None:
    async with codec_and_triton(FakeTriton()) as codec:
        (reply,) = await read_all(codec.stub.Encode([pcm_frame(0)]))
        assert (reply.timing.step_us, reply.timing.batch_size) == (4000, 1)
        assert codec.metric('moshi_codec_step_seconds_sum{program="encode"} 0.004')
        assert codec.metric('moshi_codec_batch_size_count{program="encode"} 1.0')
        await eventually(lambda: codec.metric('moshi_codec_triton_queue_seconds_total{program="encode"} 0.002'))
        assert codec.metric('moshi_codec_triton_compute_seconds_total{program="encode"} 0.008')
        assert codec.metric("moshi_codec_triton_ready 1.0")


@pytest.mark.parametrize("why", ["unready", "another kind", "mixed", "unknown"])
async def test_until_triton_runs_the_right_models_sessions_are_refused(why: str) -> None:
    triton = FakeTriton()
    right = triton.decode.parameters
    assert right is not None
    if why == "unready":
        triton.decode.ready = False
    elif why == "unknown":
        del triton.models["mimi_decode"]
    else:
        triton.decode.parameters = None if why == "another kind" else replace(right, fingerprint="f" * 16)
    async with listening(triton) as (_, port):
        service = make_service(port, CollectorRegistry())
        async with service_listening(service) as listener:
            starting = asyncio.create_task(service.start())
            stub = codec_pb2_grpc.CodecStub(listener.channel)
            assert await status_of(stub.Encode()) == (grpc.StatusCode.UNAVAILABLE, "the worker is still loading")
            await asyncio.sleep(0.1)
            assert not starting.done()
            triton.models["mimi_decode"] = triton.decode
            triton.decode.ready, triton.decode.parameters = True, right
            async with asyncio.timeout(PATIENCE_S):
                await starting
            assert len(await read_all(stub.Encode([pcm_frame(0)]))) == 1


async def test_a_triton_that_is_down_at_the_start_is_waited_for() -> None:
    (port,) = free_ports(1)
    service = make_service(port, CollectorRegistry())
    async with service_listening(service):
        starting = asyncio.create_task(service.start())
        await asyncio.sleep(0.1)
        assert not starting.done()
        async with listening(FakeTriton(), port), asyncio.timeout(PATIENCE_S):
            await starting
        starting.cancel()


async def test_a_triton_that_dies_ends_its_sessions_and_serves_again_when_it_is_back() -> None:
    triton = FakeTriton()
    async with listening(triton, *free_ports(1)) as (server, port), codec_behind(port) as codec:
        calls = [codec.stub.Encode(), codec.stub.Decode()]
        for call, frame in zip(calls, (pcm_frame(0), code_frame(0)), strict=True):
            await call.write(frame)
            await read(call)
        await server.stop(None)
        for call in calls:
            assert await status_of(call) in LOST
        await codec.until(ready=False)
        assert await status_of(codec.stub.Encode()) == NOT_READY
        report = await codec.capacity()
        assert (report.slots_total, report.checkpoint) == (0, "")
        assert codec.service.live_sessions == 0
        assert codec.metric("moshi_codec_triton_ready 0.0")
        async with listening(FakeTriton(), port):
            await codec.until(ready=True)
            assert len(await read_all(codec.stub.Encode(pcm_frame(index) for index in range(3)))) == 3
        assert not codec.service.failed.done()


async def test_a_triton_that_stands_still_is_lost_after_some_looks() -> None:
    triton = FakeTriton()
    async with codec_and_triton(triton) as codec:
        call = codec.stub.Encode()
        await call.initial_metadata()
        triton.answers_looks.clear()
        assert await status_of(call) in LOST
        await codec.until(ready=False)
        triton.let_all()
        await codec.until(ready=True)


async def test_a_model_that_hangs_ends_the_sessions_whose_frames_it_has() -> None:
    triton = FakeTriton()
    async with codec_and_triton(triton, triton_answer_timeout_s=2.0) as codec:
        stuck, neighbour = codec.stub.Encode(), codec.stub.Decode()
        await neighbour.write(code_frame(0))
        await read(neighbour)
        triton.encode.gate.clear()
        await stuck.write(pcm_frame(0))
        assert await status_of(stuck) == (grpc.StatusCode.UNAVAILABLE, "Triton did not answer in time")
        await neighbour.write(code_frame(1))
        await read(neighbour)
        neighbour.cancel()


async def test_a_sequence_that_triton_has_forgotten_ends_and_its_neighbour_goes_on() -> None:
    triton = FakeTriton()
    async with codec_and_triton(triton) as codec:
        idle, neighbour = codec.stub.Encode(), codec.stub.Decode()
        for call, frame in ((idle, pcm_frame(0)), (neighbour, code_frame(0))):
            await call.write(frame)
            await read(call)
        triton.encode.forget()
        await idle.write(pcm_frame(1))
        assert await status_of(idle) == (grpc.StatusCode.UNAVAILABLE, "Triton has forgotten the sequence")
        await neighbour.write(code_frame(1))
        await read(neighbour)
        neighbour.cancel()
        assert len(await read_all(codec.stub.Encode([pcm_frame(0)]))) == 1


async def test_a_model_that_is_unloaded_closes_the_worker_until_it_is_back() -> None:
    triton = FakeTriton()
    async with codec_and_triton(triton) as codec:
        call = codec.stub.Decode()
        await call.write(code_frame(0))
        await read(call)
        triton.decode.ready = False
        assert await status_of(call) == NOT_READY
        assert await status_of(codec.stub.Encode()) == NOT_READY
        triton.decode.ready = True
        await codec.until(ready=True)


async def test_a_model_that_is_called_ready_and_answers_nothing_closes_the_worker_until_it_does() -> None:
    triton = FakeTriton()
    async with codec_and_triton(triton) as codec:
        triton.encode.broken = True
        for _ in range(3):
            status, details = await status_of(codec.stub.Encode([pcm_frame(0)]))
            assert status is grpc.StatusCode.UNAVAILABLE
            assert details in ("Triton has refused a frame", "Triton is not ready")
        await codec.until(ready=False)
        trials = triton.decode.trials
        await asyncio.sleep(0.1)
        assert not codec.service.readiness.is_ready, "a trial frame is refused, too"
        triton.encode.broken = False
        await codec.until(ready=True)
        assert triton.decode.trials == trials + 1
        assert len(await read_all(codec.stub.Encode([pcm_frame(0)]))) == 1


async def test_another_model_behind_the_name_is_told_to_the_gateway_and_ends_what_ran_on_the_old_one() -> None:
    triton = FakeTriton()
    async with codec_and_triton(triton) as codec:
        call = codec.stub.Encode()
        await call.write(pcm_frame(0))
        await read(call)
        for model in (triton.encode, triton.decode):
            assert model.parameters is not None
            model.parameters = replace(model.parameters, fingerprint="f" * 16)
        assert await status_of(call) == NOT_READY
        await codec.until(ready=True)
        assert (await codec.capacity()).checkpoint == "f" * 16


async def test_a_draining_worker_finishes_what_it_has() -> None:
    async with codec_and_triton(FakeTriton(), drain_linger_s=0.0) as codec:
        old = codec.stub.Encode()
        await old.initial_metadata()
        codec.service.drain(grace_s=5)
        assert await status_of(codec.stub.Encode()) == (grpc.StatusCode.UNAVAILABLE, "the worker is draining")
        await old.write(pcm_frame(0))
        await read(old)
        await old.done_writing()
        assert await read_all(old) == []
        await codec.service.until_idle()


async def test_a_worker_that_stops_lets_go_of_what_triton_holds_back() -> None:
    triton = FakeTriton()
    async with listening(triton) as (_, port):
        service = make_service(port, CollectorRegistry())
        async with serving(service) as listener:
            call = codec_pb2_grpc.CodecStub(listener.channel).Encode()
            triton.encode.gate.clear()
            await call.write(pcm_frame(0))
            await eventually(lambda: bool(triton.encode.seen))
        assert service.live_sessions == 0  # the frame was not waited for
        triton.let_all()

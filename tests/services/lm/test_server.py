"""The lm service over real gRPC, around a model that computes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc
import pytest
import pytest_asyncio
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from prometheus_client import generate_latest

from moshi_cluster.services.lm.sampling import sampling_message
from moshi_cluster.services.lm.session import SessionSpec
from moshi_cluster.v1 import common_pb2, lm_pb2, lm_pb2_grpc
from tests.services.fake_workers import BINS, TEXT_CARD, FakeLm, open_request, user_frame
from tests.services.in_process import PATIENCE_S, eventually, few_turns, listening, read, read_all, serving, status_of

pytestmark = pytest.mark.usefixtures("nothing_swallowed")
SLOTS = 2
Open = lm_pb2.GenerateRequest.Open


@pytest_asyncio.fixture
async def lm() -> FakeLm:
    return FakeLm(SLOTS, prepare_pieces=2, inflight_frames=3)


@pytest_asyncio.fixture
async def stub(lm: FakeLm) -> AsyncIterator[lm_pb2_grpc.LmStub]:
    async with serving(lm) as listener:
        yield lm_pb2_grpc.LmStub(listener.channel)
        lm.runner.let_all()


async def opened(stub: lm_pb2_grpc.LmStub, history_frames: int = 0) -> Any:
    """A call whose session is ready."""
    call = stub.Generate()
    await call.write(open_request(history_frames))
    assert (await read(call)).WhichOneof("message") == "opened"
    return call


async def refusal(stub: lm_pb2_grpc.LmStub, *requests: lm_pb2.GenerateRequest) -> str:
    """The message of the INVALID_ARGUMENT that these requests get."""
    call = stub.Generate()
    for request in requests:
        await call.write(request)
    status, details = await status_of(call)
    assert status == grpc.StatusCode.INVALID_ARGUMENT
    return details


async def test_opened_comes_first_and_then_one_frame_for_every_frame(stub: lm_pb2_grpc.LmStub) -> None:
    requests = [open_request(), *(user_frame(index, index % BINS) for index in range(20))]
    first, *replies = await read_all(stub.Generate(iter(requests)))
    assert first.opened.prefilled_frames == 0
    frames = [reply.frame for reply in replies]
    assert [frame.frame_index for frame in frames] == list(range(20))
    assert [list(frame.moshi_codes[:3]) for frame in frames] == [[0, index, index] for index in range(20)]
    assert [frame.text_piece for frame in frames] == [f" {index}" for index in range(20)]
    assert [frame.text_token for frame in frames] == list(range(20))
    assert all(frame.timing.batch_size == 1 for frame in frames)


async def test_the_history_reaches_the_model_as_it_was_sent(lm: FakeLm, stub: lm_pb2_grpc.LmStub) -> None:
    history = [
        lm_pb2.HistoryFrame(text_token=index % TEXT_CARD, moshi_codes=[index % BINS] * 8, user_codes=[7] * 8)
        for index in range(600)
    ]
    call = stub.Generate()
    sampling = common_pb2.Sampling(seed=2**64 - 1, text_temperature=0.0, audio_top_k=5)
    await call.write(lm_pb2.GenerateRequest(open=Open(sampling=sampling, history=history)))
    assert (await read(call)).opened.prefilled_frames == 600
    (spec,) = lm.runner.specs.values()
    assert isinstance(spec, SessionSpec)
    expected = [[index % TEXT_CARD, *[index % BINS] * 8, *[7] * 8] for index in range(600)]
    assert spec.history.tolist() == expected
    in_use = spec.sampling
    assert (in_use.seed, in_use.text_temperature, in_use.text_top_k, in_use.audio_top_k) == (2**64 - 1, 0.0, 25, 5)
    assert in_use.audio_temperature == pytest.approx(0.8)
    call.cancel()


async def test_opened_says_what_is_in_use(lm: FakeLm, stub: lm_pb2_grpc.LmStub) -> None:
    wanted = common_pb2.Sampling(seed=7, text_top_k=3, audio_top_k=500, padding_multiplier=1.5, repetition_penalty=1.25)
    call = stub.Generate()
    await call.write(lm_pb2.GenerateRequest(open=Open(sampling=wanted)))
    in_use = common_pb2.Sampling(
        seed=7, text_temperature=0.7, text_top_k=3, audio_temperature=0.8, audio_top_k=500,
        padding_multiplier=1.5, repetition_penalty=1.25, repetition_penalty_context=64,
    )  # fmt: skip
    assert (await read(call)).opened.sampling == in_use
    (spec,) = lm.runner.specs.values()
    assert sampling_message(spec.sampling) == in_use
    call.cancel()


async def test_to_ask_for_the_checkpoints_own_values_is_to_ask_for_none(lm: FakeLm, stub: lm_pb2_grpc.LmStub) -> None:
    silent, telling = stub.Generate(), stub.Generate()
    await silent.write(open_with())
    in_use = (await read(silent)).opened.sampling
    await telling.write(lm_pb2.GenerateRequest(open=Open(sampling=in_use)))
    await read(telling)
    first, second = lm.runner.specs.values()
    assert first.sampling == second.sampling
    for call in (silent, telling):
        call.cancel()


async def test_frames_may_be_sent_before_opened_arrives(stub: lm_pb2_grpc.LmStub) -> None:
    call = stub.Generate()
    for request in (open_request(), user_frame(0), user_frame(1)):
        await call.write(request)
    await call.done_writing()
    kinds = [reply.WhichOneof("message") for reply in await read_all(call)]
    assert kinds == ["opened", "frame", "frame"]


async def test_the_headers_come_before_anything_was_sent(stub: lm_pb2_grpc.LmStub) -> None:
    call = stub.Generate()
    async with asyncio.timeout(PATIENCE_S):
        await call.initial_metadata()
    await call.write(open_request())
    assert (await read(call)).HasField("opened")
    call.cancel()


async def test_the_slot_is_held_before_the_history_is_read(lm: FakeLm, stub: lm_pb2_grpc.LmStub) -> None:
    talking = await opened(stub)
    lm.runner.hold()
    await talking.write(user_frame(0))
    await lm.runner.step_entered()  # the engine is busy: nothing can be prepared now
    joining = stub.Generate()
    await joining.write(open_request())
    await eventually(lambda: lm.live_sessions == 2)
    lm.runner.let_all()
    assert (await read(joining)).WhichOneof("message") == "opened"
    for call in (talking, joining):
        call.cancel()


async def test_half_close_flushes_what_is_in_flight(lm: FakeLm, stub: lm_pb2_grpc.LmStub) -> None:
    call = await opened(stub)
    lm.runner.hold()
    await call.write(user_frame(0))
    await lm.runner.step_entered()
    await call.write(user_frame(1))
    await call.done_writing()
    lm.runner.let_all()
    assert [reply.frame.frame_index for reply in await read_all(call)] == [0, 1]
    assert await call.code() == grpc.StatusCode.OK


def open_with(**sampling: Any) -> lm_pb2.GenerateRequest:
    return lm_pb2.GenerateRequest(open=Open(sampling=common_pb2.Sampling(seed=1, **sampling)))


def open_after(*history: lm_pb2.HistoryFrame) -> lm_pb2.GenerateRequest:
    return lm_pb2.GenerateRequest(open=Open(sampling=common_pb2.Sampling(seed=1), history=history))


def history_frame(
    text: int = 0, moshi: Sequence[int] = (0,) * 8, user: Sequence[int] = (0,) * 8
) -> lm_pb2.HistoryFrame:
    return lm_pb2.HistoryFrame(text_token=text, moshi_codes=moshi, user_codes=user)


BAD_OPENS = [
    (lm_pb2.GenerateRequest(), "message: the first message must be `open`"),
    (user_frame(0), "message: the first message must be `open`"),
    (lm_pb2.GenerateRequest(open=Open()), "open.sampling.seed: required"),
    (open_with(text_temperature=-0.1), "open.sampling.text_temperature: must be 0 to 10"),
    (open_with(audio_temperature=10.5), "open.sampling.audio_temperature: must be 0 to 10"),
    (open_with(audio_temperature=float("nan")), "open.sampling.audio_temperature: must be 0 to 10"),
    (open_with(text_top_k=0), "open.sampling.text_top_k: must be 1 to 500"),
    (open_with(audio_top_k=501), "open.sampling.audio_top_k: must be 1 to 500"),
    (open_with(padding_multiplier=-4.5), "open.sampling.padding_multiplier: must be -4 to 4"),
    (open_with(padding_multiplier=float("nan")), "open.sampling.padding_multiplier: must be -4 to 4"),
    (open_with(repetition_penalty=0.5), "open.sampling.repetition_penalty: must be 1 to 2"),
    (open_with(repetition_penalty_context=201), "open.sampling.repetition_penalty_context: must be 0 to 200"),
    (open_after(history_frame(TEXT_CARD)), "open.history.text_token: must be in the vocabulary"),
    (
        open_after(history_frame(), history_frame(moshi=[0] * 7)),
        "open.history.moshi_codes: must be one code for each codebook",
    ),
    (open_after(history_frame(moshi=[BINS] * 8)), "open.history.moshi_codes: must be codes that the codebooks have"),
    (open_after(history_frame(user=[])), "open.history.user_codes: must be one code for each codebook"),
    (open_after(history_frame(user=[2**32 - 1] * 8)), "open.history.user_codes: must be codes that the codebooks have"),
]


@pytest.mark.parametrize(("request_", "message"), BAD_OPENS)
async def test_a_bad_open_is_refused_by_field_and_takes_no_slot(
    lm: FakeLm, stub: lm_pb2_grpc.LmStub, request_: lm_pb2.GenerateRequest, message: str
) -> None:
    assert (await refusal(stub, request_)).startswith(message)
    assert [entry for entry in lm.runner.log if entry[0] == "open"] == []


async def test_a_history_beyond_the_limit_is_refused() -> None:
    lm = FakeLm(max_history_frames=3)
    async with serving(lm) as listener:
        stub = lm_pb2_grpc.LmStub(listener.channel)
        assert await refusal(stub, open_request(4)) == "open.history: has more frames than may come"
        (await opened(stub, 3)).cancel()


async def test_a_stream_that_ends_before_open_is_refused(stub: lm_pb2_grpc.LmStub) -> None:
    status, details = await status_of(stub.Generate(iter(())))
    assert (status, details) == (grpc.StatusCode.INVALID_ARGUMENT, "message: the stream ended before `open`")


def frame_of(codes: Sequence[int], index: int = 1) -> lm_pb2.GenerateRequest:
    return lm_pb2.GenerateRequest(frame=lm_pb2.GenerateRequest.UserFrame(codes=codes, frame_index=index))


BAD_FRAMES = [
    (open_request(), "message: after `open`, only `frame` may come"),
    (lm_pb2.GenerateRequest(), "message: after `open`, only `frame` may come"),
    (frame_of([0] * 7), "frame.codes: must be one code for each codebook"),
    (frame_of([0] * 9), "frame.codes: must be one code for each codebook"),
    (frame_of([*[0] * 7, BINS]), "frame.codes: must be codes that the codebooks have"),
    (frame_of([0] * 8, index=0), "frame.frame_index: must count up from the first frame without gaps"),
    (frame_of([0] * 8, index=2), "frame.frame_index: must count up from the first frame without gaps"),
]


@pytest.mark.parametrize(("bad", "message"), BAD_FRAMES)
async def test_a_bad_frame_ends_its_own_session_and_disturbs_no_neighbour(
    lm: FakeLm, stub: lm_pb2_grpc.LmStub, bad: lm_pb2.GenerateRequest, message: str
) -> None:
    neighbour, broken = await opened(stub), await opened(stub)
    for call in (neighbour, broken):
        await call.write(user_frame(0))
        await read(call)
    await broken.write(bad)
    status, details = await status_of(broken)
    assert status == grpc.StatusCode.INVALID_ARGUMENT
    assert details.startswith(message)
    await neighbour.write(user_frame(1))
    assert (await read(neighbour)).frame.moshi_codes[1] == 1
    await eventually(lambda: lm.live_sessions == 1)
    neighbour.cancel()


async def test_a_full_worker_refuses_with_a_hint_when_to_try_again(lm: FakeLm, stub: lm_pb2_grpc.LmStub) -> None:
    held = [await opened(stub) for _ in range(SLOTS)]
    refused = stub.Generate()
    await refused.write(open_request())
    with pytest.raises(grpc.aio.AioRpcError, match="all lm slots are in use") as caught:
        await refused.read()
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    status = rpc_status.from_call(caught.value)
    assert status is not None
    assert status.details[0].Is(error_details_pb2.RetryInfo.DESCRIPTOR)
    assert b'moshi_lm_rejections_total{program="lm"} 1.0' in generate_latest(lm.registry)
    for call in held:
        call.cancel()


async def test_cancel_before_open_leaves_nothing_behind(lm: FakeLm, stub: lm_pb2_grpc.LmStub) -> None:
    call = stub.Generate()
    await call.wait_for_connection()
    await few_turns()
    call.cancel()
    (await opened(stub)).cancel()
    await eventually(lambda: lm.live_sessions == 0)


async def test_cancel_while_the_history_is_read_frees_the_slot(lm: FakeLm, stub: lm_pb2_grpc.LmStub) -> None:
    talking = await opened(stub)
    lm.runner.hold()
    for index in range(3):
        await talking.write(user_frame(index))
    await lm.runner.step_entered()
    joining = stub.Generate()
    await joining.write(open_request())
    await eventually(lambda: lm.live_sessions == 2)
    lm.runner.let_one()
    await lm.runner.step_entered()  # between the two pieces of its opening work
    assert len(lm.runner.specs) == 2
    joining.cancel()
    await eventually(lambda: any(session.ended for session in lm.model.programs[0].sessions))
    lm.runner.let_all()
    await eventually(lambda: lm.live_sessions == 1)
    assert len(lm.runner.specs) == 1
    assert (await read(talking)).frame.frame_index == 0
    talking.cancel()


async def test_cancel_in_mid_step_frees_the_slot_after_the_step(lm: FakeLm, stub: lm_pb2_grpc.LmStub) -> None:
    call = await opened(stub)
    lm.runner.hold()
    for index in range(5):  # more than may be in flight: the server waits for credits
        await call.write(user_frame(index))
    await lm.runner.step_entered()
    call.cancel()
    await few_turns()
    assert lm.live_sessions == 1, "the step in flight still writes to the slot"
    lm.runner.let_all()
    await eventually(lambda: lm.live_sessions == 0)
    assert lm.runner.specs == {}


async def test_a_loading_worker_is_unavailable() -> None:
    lm = FakeLm()
    async with listening(lm) as listener:
        call = lm_pb2_grpc.LmStub(listener.channel).Generate()
        assert await status_of(call) == (grpc.StatusCode.UNAVAILABLE, "the worker is still loading")


async def test_a_draining_worker_tells_its_sessions_once_and_finishes_them(
    lm: FakeLm, stub: lm_pb2_grpc.LmStub
) -> None:
    call = await opened(stub)
    idle = asyncio.create_task(lm.until_idle())
    lm.drain(grace_s=55.5)
    assert 50_000 < (await read(call)).go_away.grace_ms <= 55_500
    await call.write(user_frame(0))
    assert (await read(call)).frame.frame_index == 0
    assert not idle.done()
    await call.done_writing()
    assert await read_all(call) == []
    await idle


async def test_a_session_that_opens_while_the_drain_begins_is_told_after_opened(
    lm: FakeLm, stub: lm_pb2_grpc.LmStub
) -> None:
    talking = await opened(stub)
    lm.runner.hold()
    await talking.write(user_frame(0))
    await lm.runner.step_entered()
    joining = stub.Generate()
    await joining.write(open_request())
    await eventually(lambda: lm.live_sessions == 2)
    lm.drain(grace_s=60)
    await asyncio.sleep(0.1)
    lm.runner.let_all()
    assert (await read(joining)).HasField("opened")
    assert (await read(joining)).go_away.grace_ms <= 59_900, "what is left, not what there was"
    for call in (talking, joining):
        call.cancel()


async def test_when_the_grace_is_over_every_session_ends_as_unavailable(lm: FakeLm, stub: lm_pb2_grpc.LmStub) -> None:
    lm.runner.hold()
    talking, joining = await opened(stub), stub.Generate()
    await talking.write(user_frame(0))
    await lm.runner.step_entered()
    await joining.write(open_request())  # is never ready: the engine is busy
    await eventually(lambda: lm.live_sessions == 2)
    lm.drain(grace_s=0.1)
    for call in (talking, joining):
        assert await status_of(call) == (
            grpc.StatusCode.UNAVAILABLE,
            "the worker stops, and the time to finish is over",
        )
    lm.runner.let_all()
    await lm.until_idle()


async def test_a_draining_worker_refuses_new_sessions_without_waiting_for_open(
    lm: FakeLm, stub: lm_pb2_grpc.LmStub
) -> None:
    early = stub.Generate()  # the stream is there, its `open` is not
    await early.wait_for_connection()
    (await opened(stub)).cancel()
    lm.drain(grace_s=1)
    assert await status_of(stub.Generate()) == (grpc.StatusCode.UNAVAILABLE, "the worker is draining")
    await early.write(open_request())
    assert await status_of(early) == (grpc.StatusCode.UNAVAILABLE, "the worker is draining")


@pytest.mark.parametrize(
    ("setting", "sent", "message"),
    [
        ("open_timeout_s", [], "no `open` came"),
        ("first_frame_timeout_s", [open_request()], "no first frame came"),
        ("idle_timeout_s", [open_request(), user_frame(0)], "no frame came and no reply was read"),
    ],
)
async def test_a_session_that_stands_still_ends(setting: str, sent: list[Any], message: str) -> None:
    settings: dict[str, Any] = {setting: 0.1}
    lm = FakeLm(**settings)
    async with serving(lm) as listener:
        call = lm_pb2_grpc.LmStub(listener.channel).Generate()
        for request in sent:
            await call.write(request)
        assert await status_of(call) == (grpc.StatusCode.DEADLINE_EXCEEDED, message)
        await eventually(lambda: lm.live_sessions == 0)


async def test_a_history_that_is_not_read_in_time_ends_its_session() -> None:
    lm = FakeLm(prepare_timeout_s=0.1)
    async with serving(lm) as listener:
        stub = lm_pb2_grpc.LmStub(listener.channel)
        talking = await opened(stub)
        lm.runner.hold()
        await talking.write(user_frame(0))
        await lm.runner.step_entered()
        joining = stub.Generate()
        await joining.write(open_request())
        message = "the history was not read in time"
        assert await status_of(joining) == (grpc.StatusCode.DEADLINE_EXCEEDED, message)
        lm.runner.let_all()
        await eventually(lambda: lm.live_sessions == 1)
        talking.cancel()


async def test_an_engine_failure_ends_every_session_as_internal(lm: FakeLm, stub: lm_pb2_grpc.LmStub) -> None:
    talking = await opened(stub)
    lm.runner.hold()
    await talking.write(user_frame(0))
    await lm.runner.step_entered()
    joining = stub.Generate()
    await joining.write(open_request())
    await eventually(lambda: lm.live_sessions == 2)
    lm.runner.failure = RuntimeError("device lost")
    lm.runner.let_all()
    for call in (talking, joining):
        assert await status_of(call) == (grpc.StatusCode.INTERNAL, "the engine failed: RuntimeError")
    assert str(await lm.failed) == "device lost"

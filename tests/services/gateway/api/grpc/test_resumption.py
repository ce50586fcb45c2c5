"""A gRPC call that was lost goes on in another one: with its token, once, for a while."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from moshi_cluster.v1 import common_pb2, gateway_pb2
from tests.services.gateway.caller import Caller
from tests.services.gateway.cluster import Cluster, EchoCodec, EchoLm, cluster
from tests.services.in_process import eventually

pytestmark = pytest.mark.usefixtures("nothing_swallowed")

SAMPLING = common_pb2.Sampling(text_temperature=0.5, seed=7)
SHUTDOWN = gateway_pb2.Ended.REASON_SHUTDOWN


@asynccontextmanager
async def calling(*workers: Any, **settings: Any) -> AsyncIterator[Cluster]:
    """A cluster whose calls are over before it stops."""
    async with cluster(*workers, **settings) as all_of_it:
        yield all_of_it
        for call in [live.call for live in all_of_it.manager.calls]:
            call.cut()
        await eventually(lambda: not all_of_it.service.live_sessions)


def with_token(all_of_it: Cluster, token: str) -> Caller:
    return Caller(all_of_it.stub, (("authorization", f"Bearer {token}"),))


async def talking(all_of_it: Cluster, frames: int = 3, token: str = "") -> tuple[Caller, gateway_pb2.Started]:
    """A caller who has had this many answers."""
    caller = with_token(all_of_it, token) if token else Caller(all_of_it.stub)
    started = await caller.start(sampling=SAMPLING)
    await caller.say_levels(range(frames))
    await caller.answered(frames)
    return caller, started


async def lost(all_of_it: Cluster, frames: int = 3) -> str:
    """The resume token of a call whose connection is gone."""
    caller, started = await talking(all_of_it, frames)
    caller.call.cancel()
    await all_of_it.until_free()
    return started.resume_token


async def reason_of(caller: Caller) -> tuple[grpc.StatusCode, str]:
    """The status and the reason that a call ends with."""
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await caller.rest()
    status, info = rpc_status.from_call(error.value), error_details_pb2.ErrorInfo()
    assert status is not None
    assert any(detail.Unpack(info) for detail in status.details)
    return error.value.code(), info.reason


async def refused(all_of_it: Cluster, token: str, bearer: str = "") -> tuple[grpc.StatusCode, str]:
    caller = with_token(all_of_it, bearer) if bearer else Caller(all_of_it.stub)
    await caller.send_start(resume_token=token)
    return await reason_of(caller)


UNKNOWN = (grpc.StatusCode.NOT_FOUND, "CONVERSATION_UNKNOWN")


async def test_a_lost_call_goes_on_with_its_history_sampling_and_seed() -> None:
    lm = EchoLm()
    async with calling(lms=[lm], resume_keep_s=12.5) as all_of_it:
        caller, first = await talking(all_of_it)
        (before,) = lm.runner.specs.values()
        caller.call.cancel()
        await all_of_it.until_free()
        back = Caller(all_of_it.stub)
        second = await back.start(resume_token=first.resume_token, sampling=common_pb2.Sampling(seed=99))
        (after,) = lm.runner.specs.values()
        assert (before.sampling, first.seed) == (after.sampling, second.seed)
        assert [row[0] for row in after.history.tolist()] == [0, 1, 2]
        assert (first.HasField("resumption"), second.resumption.remembered_frames) == (False, 3)
        assert first.resume_keep_s == second.resume_keep_s == 12.5
        assert second.resume_token not in ("", first.resume_token)
        await back.say_levels([1, 2])
        await back.answered(2)
        back.call.cancel()
        await all_of_it.until_free()
        again = await Caller(all_of_it.stub).start(resume_token=second.resume_token)
        assert again.resumption.remembered_frames == 5


@pytest.mark.parametrize(("heard", "lost_frames"), [(0, 0), (2, 0), (3, 0), (10, 7)])
async def test_frames_that_the_caller_has_heard_and_the_model_has_not_are_told(heard: int, lost_frames: int) -> None:
    async with calling() as all_of_it:
        token = await lost(all_of_it)
        back = await Caller(all_of_it.stub).start(resume_token=token, resume_heard_frames=heard)
        assert back.resumption == gateway_pb2.Resumption(remembered_frames=3, lost_frames=lost_frames)


async def test_a_call_whose_worker_is_lost_while_no_other_has_room_can_be_resumed() -> None:
    first, second = EchoCodec(1), EchoCodec(1)
    async with calling([first, second]) as all_of_it:
        await eventually(lambda: len(all_of_it.manager.fleet.codec.usable) == 2)
        caller, started = await talking(all_of_it)
        holder = first if first.live_sessions else second
        other = Caller(all_of_it.stub)
        await other.start()
        holder.encoder.failure = holder.decoder.failure = RuntimeError("gone")
        await caller.say_levels([1])
        assert (await reason_of(caller))[0] is grpc.StatusCode.UNAVAILABLE
        await other.hang_up()
        await eventually(lambda: all_of_it.manager.fleet.has_capacity)
        back = await Caller(all_of_it.stub).start(resume_token=started.resume_token)
        assert back.resumption.remembered_frames == 3


async def test_a_call_that_is_hung_up_is_not_kept() -> None:
    async with calling() as all_of_it:
        caller, started = await talking(all_of_it)
        await caller.hang_up()
        assert await refused(all_of_it, started.resume_token) == UNKNOWN


async def test_a_call_that_met_a_limit_is_not_kept() -> None:
    async with calling(session_max_s=0.5) as all_of_it:
        caller, started = await talking(all_of_it, frames=0)
        assert await reason_of(caller) == (grpc.StatusCode.DEADLINE_EXCEEDED, "LIMIT_REACHED")
        assert await refused(all_of_it, started.resume_token) == UNKNOWN


async def test_a_call_that_the_gateways_stop_has_cut_is_kept() -> None:
    async with calling() as all_of_it:
        caller, _ = await talking(all_of_it)
        all_of_it.manager.drain(0.0)
        assert (await caller.rest()).ended.reason == SHUTDOWN
        await all_of_it.until_free()
        assert all_of_it.manager.conversations.lost_conversations == 1


@pytest.mark.parametrize("why", ["unknown", "used", "too old"])
async def test_a_token_that_names_no_conversation_is_refused(why: str) -> None:
    settings = {"resume_keep_s": 0.01} if why == "too old" else {}
    async with calling(**settings) as all_of_it:
        token = await lost(all_of_it)
        if why == "unknown":
            token = "no-such-token"
        elif why == "too old":
            await eventually(lambda: not all_of_it.manager.conversations.lost_conversations)
        else:
            await Caller(all_of_it.stub).start(resume_token=token)
        assert await refused(all_of_it, token) == UNKNOWN
        assert all_of_it.sample("moshi_gateway_resumptions_total", outcome="conversation_unknown") == 1


async def test_a_caller_who_is_back_before_their_loss_was_noticed_takes_over() -> None:
    lm = EchoLm()
    async with calling(lms=[lm]) as all_of_it:
        caller, started = await talking(all_of_it)
        back = await Caller(all_of_it.stub).start(resume_token=started.resume_token)
        assert back.resumption.remembered_frames == 3
        assert await reason_of(caller) == (grpc.StatusCode.ABORTED, "CONVERSATION_TAKEN")
        await eventually(lambda: len(lm.runner.specs) == 1)


@pytest.mark.parametrize("is_live", [True, False], ids=["live", "lost"])
async def test_a_token_is_worth_nothing_without_the_bearer_token_that_began_the_call(
    is_live: bool, tmp_path: Path
) -> None:
    (tmp_path / "tokens").write_text("first\nsecond\n")
    async with calling(token_file=str(tmp_path / "tokens")) as all_of_it:
        caller, started = await talking(all_of_it, token="first")
        if not is_live:
            caller.call.cancel()
            await all_of_it.until_free()
        assert await refused(all_of_it, started.resume_token, "second") == UNKNOWN
        assert len(all_of_it.manager.calls) == is_live
        back = await with_token(all_of_it, "first").start(resume_token=started.resume_token)
        assert back.resumption.remembered_frames == 3


async def test_a_token_is_good_again_after_an_attempt_that_found_no_slot() -> None:
    async with calling(max_sessions=1, retry_after_ms=1) as all_of_it:
        token = await lost(all_of_it)
        other = Caller(all_of_it.stub)
        await other.start()
        assert await refused(all_of_it, token) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "NO_FREE_SLOT")
        await other.hang_up()
        await all_of_it.until_free()
        back = await Caller(all_of_it.stub).start(resume_token=token)
        assert back.resumption.remembered_frames == 3


async def test_while_no_worker_has_the_model_it_is_said_and_the_token_stays_good() -> None:
    async with calling() as all_of_it:
        token = await lost(all_of_it)
        (kept,) = all_of_it.manager.conversations._kept._lost.values()
        checkpoint, kept.history.checkpoint = kept.history.checkpoint, "another"
        assert await refused(all_of_it, token) == (grpc.StatusCode.NOT_FOUND, "MODEL_GONE")
        kept.history.checkpoint = checkpoint
        await Caller(all_of_it.stub).start(resume_token=token)


@pytest.mark.parametrize(
    ("fields", "field_name"),
    [
        ({"resume_token": "x" * 129}, "start.resume_token"),
        ({"resume_token": "x", "loopback": True}, "start.resume_token"),
        ({"resume_heard_frames": 1}, "start.resume_heard_frames"),
    ],
)
async def test_what_cannot_be_a_resumption_is_refused_by_name(fields: dict[str, object], field_name: str) -> None:
    async with calling() as all_of_it:
        caller = Caller(all_of_it.stub)
        await caller.send_start(**fields)
        code, text = await caller.status()
        assert (code, text.split(":")[0]) == (grpc.StatusCode.INVALID_ARGUMENT, field_name)


@pytest.mark.parametrize(("settings", "fields"), [({"resume_keep_s": 0.0}, {}), ({}, {"loopback": True})])
async def test_where_nothing_can_be_resumed_no_token_is_told(
    settings: dict[str, float], fields: dict[str, object]
) -> None:
    async with calling(**settings) as all_of_it:
        started = await Caller(all_of_it.stub).start(**fields)
        assert not started.resume_token

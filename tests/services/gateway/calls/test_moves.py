"""Calls whose worker is lost, hangs or drains go on elsewhere: every frame is answered once, as if nothing were."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

import grpc
import pytest

from moshi_cluster.services.common.lifecycle import Service
from moshi_cluster.services.gateway.workers.worker import Worker
from moshi_cluster.services.lm.session import LmReply
from tests.services.fake_runner import FakeRunner
from tests.services.fake_workers import TEXT_CARD
from tests.services.gateway.caller import Caller, Heard, Kind
from tests.services.gateway.cluster import Cluster, EchoCodec, EchoLm, cluster
from tests.services.in_process import eventually

pytestmark = pytest.mark.usefixtures("nothing_swallowed")

SERVICES = ["codec", "lm"]


class CountingLm(EchoLm):
    """Says with every frame how many came before it in the whole conversation, its history included."""

    def __init__(self, slots: int = 8, **settings: Any) -> None:
        super().__init__(slots, **settings)
        self.runner._answer = lambda spec, index, codes: LmReply(
            codes, (len(spec.history) + index) % TEXT_CARD, f" {len(spec.history) + index}"
        )


def two_of_each(slots: int = 8) -> dict[str, list[Service]]:
    return {"codecs": [EchoCodec(slots), EchoCodec(slots)], "lms": [CountingLm(slots), CountingLm(slots)]}


async def all_found(all_of_it: Cluster) -> None:
    fleet = all_of_it.manager.fleet
    await eventually(lambda: len(fleet.codec.usable) == len(fleet.lm.usable) == 2)


def pool_workers(all_of_it: Cluster, service: str) -> list[Worker]:
    pool = getattr(all_of_it.manager.fleet, service)
    return list(pool._workers.values())


def carrying(all_of_it: Cluster, service: str) -> Worker:
    """The worker as the gateway sees it that has a stream."""
    (worker,) = (worker for worker in pool_workers(all_of_it, service) if worker.mux.streams)
    return worker


def service_of(all_of_it: Cluster, worker: Worker) -> Any:
    (service,) = (
        service
        for service, listening in zip(all_of_it.workers, all_of_it.listening, strict=True)
        if listening.target == worker.address
    )
    return service


def runner_of(service: Any) -> FakeRunner:
    runner: FakeRunner = service.runner if hasattr(service, "runner") else service.encoder
    return runner


def check_whole(heard: Heard, levels: list[int]) -> None:
    """Every frame was answered once, in order, and the lm's count was never interrupted."""
    assert heard.levels == levels
    assert heard.texts == [(index, f" {index}") for index in range(len(levels))]
    counters = heard.counters
    assert (counters.frames_in, counters.frames_out) == (len(levels), len(levels))
    assert (counters.frames_filled, counters.frames_dropped, counters.reply_frames_dropped) == (0, 0, 0)


@pytest.mark.parametrize("service", SERVICES)
async def test_a_call_whose_worker_is_lost_goes_on_on_another(service: str) -> None:
    levels = [index % 50 for index in range(60)]
    async with cluster(**two_of_each()) as all_of_it:
        await all_found(all_of_it)
        caller = Caller(all_of_it.stub)
        await caller.start()
        await caller.say_levels(levels[:30])
        await caller.answered(30)
        lost = carrying(all_of_it, service)
        lost.mux.lose("gone")
        await caller.say_levels(levels[30:])
        heard = await caller.hang_up()
        check_whole(heard, levels)
        (moved,) = heard.events(Kind.KIND_MOVED)
        assert moved.detail == f"{service}: the worker was lost"
        assert heard.counters.moves == 1
        assert all_of_it.sample("moshi_gateway_failovers_total", service=service, reason="lost", outcome="moved") == 1
        await all_of_it.until_free()


@pytest.mark.parametrize("service", SERVICES)
async def test_frames_in_flight_when_the_worker_is_lost_are_answered_by_another(service: str) -> None:
    levels = [index % 50 for index in range(40)]
    async with cluster(**two_of_each()) as all_of_it:
        await all_found(all_of_it)
        caller = Caller(all_of_it.stub)
        await caller.start()
        await caller.say_levels(levels[:10])
        await caller.answered(10)
        worker = carrying(all_of_it, service)
        runner = runner_of(service_of(all_of_it, worker))
        runner.hold()
        await caller.say_levels(levels[10:])
        await runner.step_entered()
        worker.mux.lose("gone")
        heard = await caller.hang_up()
        check_whole(heard, levels)
        runner.let_all()
        await all_of_it.until_free()


@pytest.mark.parametrize("service", SERVICES)
async def test_a_call_leaves_a_worker_that_drains_while_it_still_answers(service: str) -> None:
    levels = [index % 50 for index in range(400)]
    async with cluster(**two_of_each()) as all_of_it:
        await all_found(all_of_it)
        caller = Caller(all_of_it.stub)
        await caller.start()
        await caller.say_levels(levels[:20])
        draining = carrying(all_of_it, service)
        service_of(all_of_it, draining).drain(60)
        await eventually(draining.draining.is_set)
        moved = await caller.until("event", Kind.KIND_MOVED)
        assert moved.event.detail == f"{service}: the worker is about to stop"
        assert not draining.mux.streams
        await caller.say_levels(levels[20:])
        heard = await caller.hang_up()
        check_whole(heard, levels)
        assert not heard.events(Kind.KIND_GO_AWAY), "nothing is about to end"
        await all_of_it.until_free()


async def test_a_call_that_leaves_a_worker_goes_on_while_the_other_reads_its_history() -> None:
    """The hand-over lasts for long: what is answered meanwhile, the new worker has to catch up with."""
    levels = [index % 50 for index in range(60)]
    async with cluster(**two_of_each()) as all_of_it:
        await all_found(all_of_it)
        caller = Caller(all_of_it.stub)
        await caller.start()
        draining = carrying(all_of_it, "lm")
        (other,) = (worker for worker in pool_workers(all_of_it, "lm") if worker is not draining)
        runner = service_of(all_of_it, other).runner
        go_on, prepare = threading.Event(), runner.prepare
        runner.prepare = lambda slot: go_on.wait(20) and prepare(slot)
        await caller.say_levels(levels[:10])
        service_of(all_of_it, draining).drain(60)
        await eventually(lambda: bool(runner.specs))
        (spec,) = runner.specs.values()
        await caller.say_levels(levels[10:50])
        await caller.answered(50)
        assert len(spec.history) <= 10, "it is opened with what was said until then"
        go_on.set()
        await caller.until("event", Kind.KIND_MOVED)
        await caller.say_levels(levels[50:])
        check_whole(await caller.hang_up(), levels)
        await all_of_it.until_free()


@pytest.mark.parametrize("service", SERVICES)
async def test_a_call_leaves_a_worker_that_hangs(service: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "moshi_cluster.services.gateway.calls.move_reports")
    levels = [index % 50 for index in range(20)]
    async with cluster(**two_of_each(), answer_timeout_s=1.0) as all_of_it:
        await all_found(all_of_it)
        caller = Caller(all_of_it.stub)
        await caller.start()
        hanging = carrying(all_of_it, service)
        runner = runner_of(service_of(all_of_it, hanging))
        runner.hold()
        await caller.say_levels(levels)
        heard = await caller.hang_up()
        check_whole(heard, levels)
        (moved,) = heard.events(Kind.KIND_MOVED)
        assert moved.detail == f"{service}: the worker did not answer"
        (other,) = (worker for worker in pool_workers(all_of_it, service) if worker is not hanging)
        why = f"worker={service} reason=hung outcome=moved address={hanging.address} to={other.address}"
        assert caplog.messages == [f"call moved session={heard.started.session_id} {why}"]
        assert hanging.rank[0], "it is asked last for a while"
        runner.let_all()
        await all_of_it.until_free()


@pytest.mark.parametrize("service", SERVICES)
async def test_a_call_for_which_no_worker_has_room_is_told_before_its_worker_stops(service: str) -> None:
    full = {"codecs": [EchoCodec()], "lms": [CountingLm()]}
    async with cluster(**full) as all_of_it:
        caller = Caller(all_of_it.stub)
        await caller.start()
        service_of(all_of_it, carrying(all_of_it, service)).drain(60)
        told = await caller.until("event", Kind.KIND_GO_AWAY)
        assert told.event.detail.startswith(f"the {service} worker stops: the call ends in ")
        await caller.say_levels([1, 2])
        check_whole(await caller.hang_up(), [1, 2])
        await all_of_it.until_free()


@pytest.mark.parametrize("service", SERVICES)
async def test_where_not_all_find_room_those_go_on_who_have_talked_longest(
    service: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "moshi_cluster.services.gateway.calls.move_reports")
    async with cluster(**two_of_each(4)) as all_of_it:
        await all_found(all_of_it)
        callers, on = [Caller(all_of_it.stub) for _ in range(6)], {}
        for caller in callers:
            before = {worker: worker.mux.streams for worker in pool_workers(all_of_it, service)}
            await caller.start()
            (on[caller],) = (worker for worker, streams in before.items() if worker.mux.streams > streams)
        lost = on[callers[0]]
        for caller in callers:
            await caller.say_levels([1])
            await caller.answered(1)
        lost.capacity = None
        lost.mux.lose("gone")
        room = 4 - sum(worker is not lost for worker in on.values())
        losers = [caller for caller in callers if on[caller] is lost]
        moved, ended = losers[:room], losers[room:]
        for caller in ended:
            assert (await caller.status())[0] is grpc.StatusCode.UNAVAILABLE
        for caller in callers:
            if caller not in ended:
                await caller.say_levels([2, 3])
                check_whole(await caller.hang_up(), [1, 2, 3])
        assert [len(caller.heard.events(Kind.KIND_MOVED)) for caller in moved] == [1] * room
        labels = {"service": service, "reason": "lost"}
        assert all_of_it.sample("moshi_gateway_failovers_total", outcome="moved", **labels) == room
        assert all_of_it.sample("moshi_gateway_failovers_total", outcome="given_up", **labels) == len(ended) == 2
        of_it = f"worker={service} reason=lost"
        told = Counter(line.partition(" session=")[0] for line in caplog.messages if of_it in line)
        assert (told["call moved"], told["call given up"]) == (room, 2)
        await all_of_it.until_free()


@pytest.mark.parametrize("service", SERVICES)
async def test_a_call_never_moves_to_a_worker_of_another_checkpoint(service: str) -> None:
    workers = {
        "codecs": [EchoCodec(), EchoCodec(checkpoint="other")],
        "lms": [CountingLm(), CountingLm(checkpoint="other")],
    }
    async with cluster(**workers) as all_of_it:
        await all_found(all_of_it)
        caller = Caller(all_of_it.stub)
        await caller.start()
        lost = carrying(all_of_it, service)
        lost.capacity = None
        lost.mux.lose("gone")
        assert (await caller.status())[0] is grpc.StatusCode.UNAVAILABLE
        await all_of_it.until_free()


async def test_a_call_waits_for_a_worker_that_is_started_anew() -> None:
    async with cluster(codecs=[EchoCodec()], lms=[CountingLm()], move_timeout_s=60.0) as all_of_it:
        caller = Caller(all_of_it.stub)
        await caller.start()
        lost = carrying(all_of_it, "lm")
        capacity, lost.capacity = lost.capacity, None
        lost.mux.lose("gone")
        await caller.say_levels([1, 2])
        await eventually(lambda: all_of_it.sample("moshi_gateway_frames_total", kind="in") == 2)
        lost.capacity = capacity
        check_whole(await caller.hang_up(), [1, 2])
        await all_of_it.until_free()


async def test_a_call_that_worker_after_worker_fails_of_ends() -> None:
    codecs = [EchoCodec() for _ in range(6)]
    for codec in codecs:
        codec.encoder.failure = RuntimeError("a frame that nobody survives")
    lm = CountingLm()
    async with cluster(codecs, [lm], move_timeout_s=60.0) as all_of_it:
        await eventually(lambda: len(all_of_it.manager.fleet.codec.usable) == 6)
        caller = Caller(all_of_it.stub)
        await caller.start()
        await caller.say_levels([1])
        code, details = await caller.status()
        assert (code, details.split(":")[0]) == (grpc.StatusCode.UNAVAILABLE, "encode")
        assert sum(codec.failed.done() for codec in codecs) == 3
        await eventually(lambda: not any(service.live_sessions for service in (all_of_it.service, lm)))

"""The admission queue: who is next, what everyone is told, what does not hold it up."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from prometheus_client import CollectorRegistry

from moshi_cluster.services.common.errors import Draining, NoFreeSlot
from moshi_cluster.services.gateway.admission.fair_order import Lane, Waiting
from moshi_cluster.services.gateway.admission.queue import AdmissionQueue
from moshi_cluster.services.gateway.metrics import GatewayMetrics
from tests.services.in_process import eventually, few_turns

pytestmark = pytest.mark.usefixtures("any_uptime")


class Machine:
    """Slots, and the queue in front of them."""

    def __init__(self, limit: int = 10, free: int = 0, **times_s: float) -> None:
        """times_s: of the queue, those that a test does not want to wait for."""
        self.free = free
        self.lies = 0  # so often it looks free and is not
        self.draining = False
        self.served: list[str] = []
        self.told: dict[str, list[tuple[int, int]]] = {}
        self.registry = CollectorRegistry()
        metrics = GatewayMetrics(self.registry)
        self.calls: Counter[str] = Counter()  # of each client
        calls_of = self.calls.__getitem__
        self.queue = AdmissionQueue(limit, lambda: self.free > 0, metrics, 250, calls_of, **times_s)

    async def wait(self, name: str, lane: Lane = Lane.WEB) -> str:
        """name: the client's is its first letter."""

        async def attempt() -> str:
            await asyncio.sleep(0)
            if self.lies or not self.free:
                self.lies -= 1
                raise NoFreeSlot("it looked free")
            self.free -= 1
            self.served.append(name)
            return name

        async def notify(position: int, count: int) -> None:
            self.told.setdefault(name, []).append((position, count))

        return await self.queue.wait(attempt, notify, self.check, Waiting(lane, name[0]))

    def check(self) -> None:
        if self.draining:
            raise Draining("the gateway is draining")

    def release(self, slots: int = 1) -> None:
        self.free += slots
        self.queue.look_again()

    @property
    def gauge(self) -> float | None:
        return self.registry.get_sample_value("moshi_gateway_waiting")


@asynccontextmanager
async def queued(machine: Machine, *names: str, lane: Lane = Lane.WEB) -> AsyncIterator[list[asyncio.Task[str]]]:
    """Everyone queues, in this order; what is left at the end is cancelled."""
    tasks = []
    for name in names:
        tasks.append(asyncio.create_task(machine.wait(name, lane)))
        await few_turns()
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_nobody_waits_while_there_is_capacity() -> None:
    machine = Machine(free=2)
    assert [await machine.wait("a"), await machine.wait("b")] == ["a", "b"]
    assert machine.told == {}


async def test_first_come_first_served_and_everyone_knows_their_position() -> None:
    machine = Machine()
    async with queued(machine, "a", "b", "c") as tasks:
        assert machine.gauge == 3
        machine.release()
        assert await tasks[0] == "a"
        await few_turns()
        assert machine.told == {
            "a": [(1, 1), (1, 2), (1, 3), (0, 2)],
            "b": [(2, 2), (2, 3), (1, 2)],
            "c": [(3, 3), (2, 2)],
        }
        machine.release(2)
        assert await asyncio.gather(*tasks) == ["a", "b", "c"]
        assert machine.served == ["a", "b", "c"]
        assert machine.gauge == 0


async def test_who_comes_later_does_not_overtake() -> None:
    machine = Machine()
    async with queued(machine, "a") as first:
        machine.free = 1  # of which the queue has not been told
        async with queued(machine, "b"):
            assert await first[0] == "a"
            assert machine.served == ["a"]


async def test_who_leaves_gives_their_position_to_the_next() -> None:
    machine = Machine()
    async with queued(machine, "a", "b", "c") as tasks:
        tasks[0].cancel()
        await few_turns()
        assert machine.told["b"][-1] == (1, 2)
        assert machine.told["c"][-1] == (2, 2)
        machine.release()
        assert await tasks[1] == "b"


async def test_one_too_many_is_refused_at_once() -> None:
    machine = Machine(limit=2)
    async with queued(machine, "a", "b"):
        with pytest.raises(NoFreeSlot, match="every slot is in use, and too many wait") as error:
            await machine.wait("c")
        assert error.value.retry_after_ms == 250
        assert "c" not in machine.told


async def test_without_a_queue_a_full_machine_refuses() -> None:
    with pytest.raises(NoFreeSlot, match="every slot is in use$"):
        await Machine(limit=0).wait("a")


async def test_a_slot_that_only_looked_free_costs_nobody_their_position() -> None:
    machine = Machine(retry_s=0.001)
    async with queued(machine, "a", "b") as tasks:
        machine.lies = 3
        machine.release()

        def reported() -> bool:
            machine.queue.look_again()
            return machine.served != []

        await eventually(reported)
        assert await tasks[0] == "a"
        assert machine.served == ["a"]


async def test_a_drain_ends_the_wait_of_everyone() -> None:
    machine = Machine()
    async with queued(machine, "a", "b") as tasks:
        machine.draining = True
        machine.queue.look_again()
        for task in tasks:
            with pytest.raises(Draining):
                await task
        with pytest.raises(Draining):
            await machine.wait("c")


async def test_who_waits_is_reminded_of_their_position() -> None:
    machine = Machine(notify_interval_s=0.001)
    async with queued(machine, "a"):
        await eventually(lambda: machine.told["a"][:3] == [(1, 1)] * 3)


async def test_who_waits_is_reminded_although_workers_report_all_the_time() -> None:
    machine = Machine(notify_interval_s=0.02)
    async with queued(machine, "a"):

        def reported() -> bool:
            machine.queue.look_again()
            return machine.told["a"][:3] == [(1, 1)] * 3

        await eventually(reported)


# --- telephones beside browsers


async def test_free_slots_go_to_browsers_and_telephones_by_turns() -> None:
    machine = Machine(phone_patience_s=60.0)
    async with queued(machine, "a", "b", "c") as web, queued(machine, "x", "y", lane=Lane.PHONE) as phones:
        for served in (["a"], ["a", "x"], ["a", "x", "b"], ["a", "x", "b", "y"], ["a", "x", "b", "y", "c"]):
            machine.release()
            await eventually(lambda served=served: machine.served == served)  # type: ignore[misc]
        await asyncio.gather(*web, *phones)


async def test_telephones_do_not_count_in_what_browsers_are_told() -> None:
    machine = Machine(phone_patience_s=60.0)
    async with queued(machine, "a"), queued(machine, "x", "y", lane=Lane.PHONE), queued(machine, "b"):
        assert machine.told["b"] == [(2, 2)]


async def test_who_telephones_waits_only_so_long_and_leaves_the_order_as_it_was() -> None:
    machine = Machine(phone_patience_s=0.01)
    async with queued(machine, "a", "b") as web:
        machine.release()
        await web[0]  # so that it is the telephones' turn
        async with queued(machine, "x", lane=Lane.PHONE) as phones:
            with pytest.raises(NoFreeSlot, match="others wait as well") as error:
                await phones[0]
            assert error.value.retry_after_ms == 250
            machine.release()
            assert await web[1] == "b"


async def test_the_client_with_the_fewest_calls_is_next() -> None:
    machine = Machine()
    machine.calls["a"] = 3
    async with queued(machine, "a1", "b1", "b2", "c1") as tasks:
        for served in (["b1"], ["b1", "c1"]):
            machine.release()
            await eventually(lambda served=served: machine.served == served)  # type: ignore[misc]
            machine.calls[served[-1][0]] += 1
            machine.queue.look_again()
        await few_turns()
        assert machine.told["a1"][-1] == (2, 2), "behind b2, whose client has one call"
        machine.release(2)
        await asyncio.gather(*tasks)

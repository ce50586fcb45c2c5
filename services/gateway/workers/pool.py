"""Worker pool: the workers of one service that a gateway knows, and the choice among them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Protocol, TypeVar

from moshi_cluster.services.common.code_shape import CodeShape
from moshi_cluster.services.common.deadlines import set_within
from moshi_cluster.services.common.errors import NoFreeSlot, SessionError, Unavailable
from moshi_cluster.services.gateway.metrics.of_workers import LossReason
from moshi_cluster.services.gateway.workers.channels import PLAIN, WorkerChannels
from moshi_cluster.services.gateway.workers.names import TargetNames
from moshi_cluster.services.gateway.workers.worker import TIMES, WatchTimes, Worker

T = TypeVar("T")


class WorkerWatcher(Protocol):
    """What hears of each worker."""

    def worker_is(self, up: bool, service: str, address: str) -> None: ...

    def worker_lost(self, service: str, address: str, reason: LossReason) -> None: ...

    def worker_forgotten(self, service: str, address: str) -> None: ...


class WorkerPool:
    """All workers of one service: found by name, watched, ranked by free slots."""

    def __init__(
        self,
        service: str,
        targets: Sequence[str],
        resolve_interval_s: float,
        retry_after_ms: int,
        times: WatchTimes = TIMES,
        channels: WorkerChannels = PLAIN,
    ) -> None:
        """targets: host:port; every address that a host resolves to is a worker."""
        self.service = service
        self._names = TargetNames(targets)
        self._resolve_interval_s = resolve_interval_s
        self._retry_after_ms = retry_after_ms
        self._times = times
        self._channels = channels
        self._workers: dict[str, Worker] = {}
        self._watches: dict[str, asyncio.Task[None]] = {}
        self._leaving: set[Worker] = set()
        self._look_up = asyncio.Event()
        self._found = asyncio.Event()
        self._without_since_s: float | None = asyncio.get_running_loop().time()  # None: a worker is within reach
        self.partner: WorkerPool | None = None
        """The other service's pool: a worker that fits none of its workers is as good as not there."""
        self.on_report: Callable[[], None] = lambda: None
        """Called whenever a worker has reported or is lost."""
        self.watcher: WorkerWatcher | None = None
        """Told of each worker by its address."""
        self._up: dict[Worker, bool] = {}  # as the watcher was told

    async def run(self) -> None:
        """Finds and watches workers until cancelled."""
        try:
            while True:
                self._look_up.clear()
                await self._resolve()
                await set_within(self._look_up, self._until_look_up_s)
        finally:
            for address in list(self._workers):
                await self._forget(address)

    async def until_found(self) -> None:
        """Returns once a worker takes sessions."""
        await self._found.wait()

    @property
    def taking(self) -> list[Worker]:
        """Workers that take sessions, full ones and those that fit none of the other service included.

        One that drains is among them while it lingers and there is no other that speaks the same codes.
        """
        taking = [worker for worker in self._workers.values() if worker.takes_sessions]
        codes = {worker.codes for worker in taking}
        return taking + [each for each in self._workers.values() if each.lingers and each.codes not in codes]

    @property
    def usable(self) -> list[Worker]:
        """Workers that calls are placed on, full ones included."""
        partners_codes = self.partner.codes if self.partner is not None else set()
        return [worker for worker in self.taking if not partners_codes or worker.codes in partners_codes]

    @property
    def codes(self) -> set[CodeShape]:
        """The shapes of codes that its workers speak."""
        return {worker.codes for worker in self.taking if worker.codes is not None}

    @property
    def is_reachable(self) -> bool:
        """Whether a worker takes sessions, a full one included."""
        return bool(self.usable)

    @property
    def without_s(self) -> float:
        """For how long no worker has been within reach."""
        if self._without_since_s is None:
            return 0.0
        return asyncio.get_running_loop().time() - self._without_since_s

    @property
    def has_capacity(self) -> bool:
        """Whether a worker had a free slot at its last report."""
        return any(not worker.is_full for worker in self.usable)

    @property
    def free_slots(self) -> int:
        """Slots of all usable workers that were free at their last report, less what was taken since."""
        return sum(max(0, worker.free_slots) for worker in self.usable)

    async def acquire(
        self, open_on: Callable[[Worker], Awaitable[T]], suits: Callable[[Worker], bool] = lambda worker: True
    ) -> T:
        """Opens something on the worker with the most free slots, elsewhere when that one refuses.

        suits: which workers come into question. Raises NoFreeSlot when every one is full, Unavailable when none is
        within reach.
        """
        full = False
        lost: SessionError = Unavailable(f"no {self.service} worker is within reach", self._retry_after_ms)
        for worker in self._ranked(suits):
            if worker.is_full:
                full = True
                continue
            worker.took_slot()
            try:
                return await open_on(worker)
            except NoFreeSlot:
                full = True
            except Unavailable as error:
                worker.failed()
                lost = error
        if full:
            raise NoFreeSlot(f"every {self.service} slot is in use", self._retry_after_ms)
        raise lost

    def look_again(self) -> None:
        """Something changed here or in the other pool: a worker may be within reach now, or none any more."""
        if self.is_reachable:
            self._found.set()
            self._without_since_s = None
        elif self._without_since_s is None:
            self._found.clear()
            self._without_since_s = asyncio.get_running_loop().time()

    def _ranked(self, suits: Callable[[Worker], bool]) -> Iterator[Worker]:
        """Usable workers, most free slots first, those that failed lately last, a lost one left out."""
        for worker in sorted(filter(suits, self.usable), key=lambda worker: worker.rank):
            if worker.takes_sessions or worker.lingers:
                yield worker

    @property
    def _until_look_up_s(self) -> float:
        """Until names are looked up again: soon while a worker leaves, for another one may have taken its place."""
        leaving = any(worker.lingers for worker in self._workers.values())
        return min(self._resolve_interval_s, self._times.leaving_resolve_s) if leaving else self._resolve_interval_s

    def _is_needed(self, worker: Worker) -> bool:
        """Whether it carries a stream, or calls might be placed on it."""
        return not worker.is_empty or worker in self.taking

    async def _resolve(self) -> None:
        addresses = await self._names.look_up()
        for address in addresses - self._workers.keys():
            self._workers[address] = Worker(address, self.service, self._times, self._retry_after_ms, self._channels)
            self._watches[address] = asyncio.create_task(self._watch(self._workers[address]))
            self._tell(self._workers[address])
        for address, worker in list(self._workers.items()):
            worker.is_named = address in addresses
            if not worker.is_named and not self._is_needed(worker):
                await self._forget(address)
        self._changed()

    async def _watch(self, worker: Worker) -> None:
        await worker.watch(lambda: self._reported(worker), lambda: self._is_needed(worker))

    def _reported(self, worker: Worker) -> None:
        if not worker.draining.is_set():
            self._leaving.discard(worker)
        elif worker not in self._leaving:
            self._leaving.add(worker)
            self._look_up.set()  # who takes its place may be there already
        self._tell(worker)
        self._changed()

    def _tell(self, worker: Worker) -> None:
        is_up, lost_as, worker.lost_as = worker.capacity is not None, worker.lost_as, None
        if self.watcher is None or self._up.get(worker) == is_up:
            return
        self._up[worker] = is_up
        self.watcher.worker_is(is_up, self.service, worker.address)
        if lost_as is not None:
            self.watcher.worker_lost(self.service, worker.address, lost_as)

    def _changed(self) -> None:
        self.look_again()
        self.on_report()

    async def _forget(self, address: str) -> None:
        worker, watch = self._workers.pop(address), self._watches.pop(address)
        self._leaving.discard(worker)
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)
        await worker.close()
        if self._up.pop(worker, None) is not None and self.watcher is not None:
            self.watcher.worker_forgotten(self.service, address)

"""Worker pool: the workers of one service that a gateway knows, and the choice among them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import socket
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc

from moshi_cluster.services.common.errors import NoFreeSlot, SessionError, Unavailable
from moshi_cluster.services.common.mux.buffers import max_bundle_bytes
from moshi_cluster.services.common.mux.client import MuxClient
from moshi_cluster.services.common.rpc import channel_options
from moshi_cluster.v1 import worker_pb2, worker_pb2_grpc

_log = logging.getLogger(__name__)
_SILENT_LOOKS = 3
_DISTRUST_S = 10.0  # a worker that failed to open a session is asked last for so long
_MAX_MESSAGE_BYTES = max_bundle_bytes(64 * 1024)

T = TypeVar("T")


@dataclass(frozen=True)
class WatchTimes:
    """How patiently workers are watched."""

    retry_s: float = 0.25
    """After a worker was lost or out of reach."""
    wrong_service_retry_s: float = 5.0
    """After a process turned out to run something else."""
    silence_max_s: float = 3.0
    """A worker reports at least once a second; beyond this it is stopped or cut off."""
    tell_after_s: float = 5.0
    """Before an operator hears of a worker that was never there."""


_TIMES = WatchTimes()


class Worker:
    """One process, as its own capacity reports describe it."""

    def __init__(self, address: str, service: str, times: WatchTimes = _TIMES) -> None:
        """address: host:port. service: what it is expected to run; a process of another kind never takes sessions."""
        self.address = address
        self._service = service
        self._times = times
        self._channel = grpc.aio.insecure_channel(address, options=channel_options(_MAX_MESSAGE_BYTES))
        self.mux = MuxClient(self._channel, address)
        self.capacity: worker_pb2.Capacity | None = None
        self._taken_since_report = 0
        self._failed_s = -math.inf

    @property
    def takes_sessions(self) -> bool:
        """Whether it is within reach, has loaded and is not draining."""
        return self.capacity is not None and self.capacity.slots_total > 0 and not self.capacity.draining

    @property
    def is_full(self) -> bool:
        """Whether the last report had no free slot: asking again would only cost the caller time."""
        return self.capacity is None or self.capacity.slots_used >= self.capacity.slots_total

    @property
    def free_slots(self) -> int:
        """Free slots by the last report, less what this gateway took since; an estimate, good for ranking."""
        if self.capacity is None:
            return 0
        return self.capacity.slots_total - self.capacity.slots_used - self._taken_since_report

    @property
    def checkpoint(self) -> str:
        """Fingerprint of what it has loaded, empty while it is out of reach."""
        return self.capacity.checkpoint if self.capacity else ""

    @property
    def context_frames(self) -> int | None:
        """Frames of a session's history that it looks back on; None for one that does not say."""
        return self.capacity.context_frames or None if self.capacity else None

    async def close(self) -> None:
        """Lets go of the worker; every stream to it is over."""
        await self.mux.close()
        await self._channel.close()

    @property
    def rank(self) -> tuple[bool, int]:
        """Smaller is better."""
        distrusted = asyncio.get_running_loop().time() - self._failed_s < _DISTRUST_S
        return distrusted, -self.free_slots

    def failed(self) -> None:
        """It could not open a session although it is within reach."""
        self._failed_s = asyncio.get_running_loop().time()

    def took_slot(self) -> None:
        """Counts a slot until the next report includes it."""
        self._taken_since_report += 1

    async def watch(self, on_change: Callable[[], None]) -> None:
        """Follows the worker's reports until cancelled; a worker that cannot be reached has no capacity."""
        started_s: float | None = asyncio.get_running_loop().time()  # None: nothing to be said any more
        while True:
            with contextlib.suppress(grpc.aio.AioRpcError, TimeoutError):
                await self._follow(on_change)
            if self.capacity is not None:
                _log.warning("worker down address=%s", self.address)
                self.capacity = started_s = None
                on_change()
            elif started_s is not None and asyncio.get_running_loop().time() - started_s > self._times.tell_after_s:
                _log.warning("worker out of reach address=%s service=%s, trying on", self.address, self._service)
                started_s = None
            await asyncio.sleep(self._times.retry_s)

    async def _follow(self, on_change: Callable[[], None]) -> None:
        """Returns or raises AioRpcError when the worker is lost; raises TimeoutError when it stands still."""
        reports = worker_pb2_grpc.WorkerStub(self._channel).WatchCapacity(worker_pb2.WatchCapacityRequest())
        while True:
            report = await self._read(reports)
            if report is grpc.aio.EOF:
                return
            if report.service != self._service:
                _log.error("address=%s runs %s, expected %s", self.address, report.service, self._service)
                await asyncio.sleep(self._times.wrong_service_retry_s)
                return
            if self.capacity is None:
                _log.info("worker up address=%s service=%s", self.address, report.service)
            self.capacity = report
            self._taken_since_report = 0
            on_change()

    async def _read(self, reports: Any) -> Any:
        """The next report or EOF. Raises TimeoutError when the worker stands still.

        Counts looks, not time: a gateway that stood still itself reads first what came meanwhile.
        """
        reading = asyncio.ensure_future(reports.read())
        try:
            for _ in range(_SILENT_LOOKS):
                await asyncio.wait((reading,), timeout=self._times.silence_max_s / _SILENT_LOOKS)
                if reading.done():
                    return reading.result()
            raise TimeoutError(f"no report within {self._times.silence_max_s:g} s")
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)


class WorkerPool:
    """All workers of one service: found by name, watched, ranked by free slots."""

    def __init__(
        self,
        service: str,
        targets: Sequence[str],
        resolve_interval_s: float,
        retry_after_ms: int,
        times: WatchTimes = _TIMES,
    ) -> None:
        """targets: host:port; every address that a host resolves to is a worker."""
        self.service = service
        self._targets = targets
        self._resolve_interval_s = resolve_interval_s
        self._retry_after_ms = retry_after_ms
        self._times = times
        self._workers: dict[str, Worker] = {}
        self._watches: dict[str, asyncio.Task[None]] = {}
        self._found = asyncio.Event()
        self._without_since_s: float | None = asyncio.get_running_loop().time()  # None: a worker is within reach
        self.on_report: Callable[[], None] = lambda: None
        """Called whenever a worker has reported or is lost."""

    async def run(self) -> None:
        """Finds and watches workers until cancelled."""
        try:
            while True:
                await self._resolve()
                await asyncio.sleep(self._resolve_interval_s)
        finally:
            for address in list(self._workers):
                await self._forget(address)

    async def until_found(self) -> None:
        """Returns once a worker takes sessions."""
        await self._found.wait()

    def within_reach(self) -> int:
        """Workers that take sessions, full ones included."""
        return sum(worker.takes_sessions for worker in self._workers.values())

    @property
    def is_reachable(self) -> bool:
        """Whether a worker takes sessions, a full one included."""
        return self.within_reach() > 0

    @property
    def without_s(self) -> float:
        """For how long no worker has been within reach."""
        if self._without_since_s is None:
            return 0.0
        return asyncio.get_running_loop().time() - self._without_since_s

    @property
    def has_capacity(self) -> bool:
        """Whether a worker had a free slot at its last report."""
        return any(worker.takes_sessions and not worker.is_full for worker in self._workers.values())

    async def acquire(self, open_on: Callable[[Worker], Awaitable[T]]) -> T:
        """Opens something on the worker with the most free slots, elsewhere when that one refuses.

        Raises NoFreeSlot when every worker is full, Unavailable when none is within reach.
        """
        full = False
        lost: SessionError = Unavailable(f"no {self.service} worker is within reach")
        for worker in self._ranked():
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

    def _ranked(self) -> Iterator[Worker]:
        """Workers that take sessions, most free slots first, those that failed lately last, a lost one left out."""
        workers = [worker for worker in self._workers.values() if worker.takes_sessions]
        for worker in sorted(workers, key=lambda worker: worker.rank):
            if worker.takes_sessions:
                yield worker

    async def _resolve(self) -> None:
        addresses: set[str] = set()
        for target in self._targets:
            try:
                addresses |= await _addresses(target)
            except (OSError, UnicodeError) as error:
                # The name service may be down for a while: keep the workers that it named before.
                _log.warning("cannot look up target=%s error=%s", target, error)
                addresses |= {address for address, worker in self._workers.items() if worker.capacity is not None}
        for address in addresses - self._workers.keys():
            self._workers[address] = Worker(address, self.service, self._times)
            self._watches[address] = asyncio.create_task(self._workers[address].watch(self._changed))
        for address in self._workers.keys() - addresses:
            if self._workers[address].capacity is None:  # a worker that drains leaves the name first and its calls last
                await self._forget(address)

    async def _forget(self, address: str) -> None:
        worker, watch = self._workers.pop(address), self._watches.pop(address)
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)
        await worker.close()

    def _changed(self) -> None:
        if self.is_reachable:
            self._found.set()
            self._without_since_s = None
        elif self._without_since_s is None:
            self._found.clear()
            self._without_since_s = asyncio.get_running_loop().time()
        self.on_report()


async def _addresses(target: str) -> set[str]:
    host, _, port = target.rpartition(":")
    found = await asyncio.get_running_loop().getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    if any(family == socket.AF_INET for family, *_ in found):  # a host with both would count twice
        found = [entry for entry in found if entry[0] == socket.AF_INET]
    names = {str(socket_address[0]) for *_, socket_address in found}
    return {f"[{name}]:{port}" if ":" in name else f"{name}:{port}" for name in names}

"""Supervisor of a cluster that is hurt on purpose: does it, starts again what has ended, and says when all is whole."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.online.processes import cpu_s, machine_cpu_s
from benchmarks.survive.gateways import Gateways
from moshi_cluster.cluster.latency_table import scrape
from moshi_cluster.cluster.local_cluster import LocalCluster
from moshi_cluster.cluster.process import ClusterError
from moshi_cluster.services.common.rpc import DIRECT
from moshi_cluster.v1 import worker_pb2, worker_pb2_grpc

WORKERS = ("codec", "lm")
_PATIENCE_S = 120.0
_POLL_S = 0.1
_NICE = 19  # what is started on a real cluster is started on cores of its own
_NICE_S = 30.0  # where other programs leave such a process nothing, it would never serve


class Supervisor:
    """What runs, what is hurt and what is started again. The methods that wait raise ClusterError after two minutes."""

    def __init__(self, cluster: LocalCluster) -> None:
        self.cluster = cluster
        self.gateways = Gateways({name: cluster.address(name) for name in self.of("gateway")})
        self.process_ids = {name: cluster.process_id(name) for name in cluster.names}
        """By name, those of now."""

    def of(self, service: str) -> list[str]:
        """The names of its processes."""
        return [name for name in self.cluster.names if service_of(name) == service]

    def others_cpu_s(self) -> float:
        """What every other program of this machine has used of its cores so far."""
        children = resource.getrusage(resource.RUSAGE_CHILDREN)  # those that have ended
        ours_s = time.process_time() + children.ru_utime + children.ru_stime
        return machine_cpu_s() - ours_s - sum(map(cpu_s, self.process_ids.values()))

    async def kill(self, name: str) -> None:
        """SIGKILL, and once it is dead a new one in its place. A load balancer sees a gateway's connections end."""
        self.gateways.leave_out(name)
        await asyncio.to_thread(self.cluster.kill, name)
        await self._start(name)

    async def freeze(self, name: str, seconds: float) -> None:
        """SIGSTOP, and SIGCONT after that time."""
        self.cluster.signal(name, signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            self.cluster.signal(name, signal.SIGCONT)
        await self.until_whole()

    async def restart(self, name: str) -> None:
        """SIGTERM, and once it has ended a new one in its place. A gateway gets no new calls meanwhile."""
        self.gateways.leave_out(name)
        self.cluster.signal(name, signal.SIGTERM)
        await asyncio.to_thread(self.cluster.wait, name, _PATIENCE_S)
        await self._start(name)

    @asynccontextmanager
    async def without(self, names: Sequence[str]) -> AsyncIterator[None]:
        """These stand still, and get no calls, within the context."""
        for name in names:
            self.cluster.signal(name, signal.SIGSTOP)
        try:
            await _until(lambda: self._all_find(_missing(names)), "a gateway has not noticed that workers stand still")
            yield
        finally:
            for name in names:
                self.cluster.signal(name, signal.SIGCONT)
        await self.until_whole()

    async def _start(self, name: str) -> None:
        self.cluster.start(name)
        process_id = self.process_ids[name] = self.cluster.process_id(name)
        _set_priority(process_id, _NICE)
        patience = asyncio.get_running_loop().call_later(_NICE_S, _set_priority, process_id, 0)
        try:
            await _until(lambda: asyncio.to_thread(self._serves, name), f"{name} has not served again")
        finally:
            patience.cancel()
        _set_priority(process_id, 0)
        self.gateways.take_back(name)
        await self.until_whole()

    async def until_whole(self) -> None:
        """Returns once every gateway has every worker within reach."""
        await _until(self._is_whole, "a gateway has not found its workers again")

    async def slots_used(self) -> int:
        """In all workers together; of a codec the fuller table."""
        return sum([await self._slots_used(name) for service in WORKERS for name in self.of(service)])

    async def leaked_slots(self, patience_s: float) -> int:
        """Slots in use although no call is up, once they had that long to become free."""
        with contextlib.suppress(ClusterError):
            await _until(self._all_free, "slots are in use", patience_s)
        return await self.slots_used()

    async def _all_free(self) -> bool:
        return not await self.slots_used()

    async def sessions_on(self, name: str) -> int:
        """Slots in use of a worker, calls of a gateway."""
        if service_of(name) in WORKERS:
            return await self._slots_used(name)
        metrics = await asyncio.to_thread(scrape, self.cluster.metrics_url(name))
        return int(sum(gauge(metrics, "moshi_gateway_calls_active").values()))

    async def _slots_used(self, name: str) -> int:
        async with grpc.aio.insecure_channel(self.cluster.address(name), DIRECT) as channel:
            stream = worker_pb2_grpc.WorkerStub(channel).WatchCapacity(
                worker_pb2.WatchCapacityRequest(), timeout=_PATIENCE_S
            )
            capacity = await stream.read()
            stream.cancel()
        return int(capacity.slots_used)

    def _serves(self, name: str) -> bool:
        self.cluster.process(name).check()
        return self.cluster.process(name).serving

    async def _is_whole(self) -> bool:
        return await self._all_find(Counter())

    async def _all_find(self, missing: Counter[str]) -> bool:
        """Whether every gateway has all workers within reach but for so many of each service."""
        wanted = {service: float(len(self.of(service)) - missing[service]) for service in WORKERS}
        return all([await asyncio.to_thread(self._finds, name, wanted) for name in self.of("gateway")])

    def _finds(self, gateway: str, wanted: Mapping[str, float]) -> bool:
        with contextlib.suppress(OSError):  # it does not listen yet
            return gauge(scrape(self.cluster.metrics_url(gateway)), "moshi_gateway_workers", "service") == wanted
        return False


def _missing(names: Iterable[str]) -> Counter[str]:
    return Counter(map(service_of, names))


def service_of(name: str) -> str:
    """What a process called `lm-0` runs."""
    return name.rpartition("-")[0]


def gauge(metrics: str, name: str, label: str = "") -> dict[str, float]:
    """The values of a gauge by one of its labels, from the text of a /metrics endpoint."""
    families = text_string_to_metric_families(metrics)
    samples = [sample for family in families if family.name == name for sample in family.samples]
    return {sample.labels.get(label, ""): sample.value for sample in samples}


async def _until(condition: Callable[[], Awaitable[bool]], otherwise: str, patience_s: float = _PATIENCE_S) -> None:
    deadline_s = time.monotonic() + patience_s
    while not await condition():
        if time.monotonic() > deadline_s:
            raise ClusterError(f"{otherwise} after {patience_s:g} s")
        await asyncio.sleep(_POLL_S)


def _set_priority(process_id: int, nice: int) -> None:
    """Of all its threads. Linux weighs whole sessions against each other where it groups them."""
    with contextlib.suppress(OSError):  # not allowed to be raised again, or ended
        for thread in Path(f"/proc/{process_id}/task").iterdir():
            os.setpriority(os.PRIO_PROCESS, int(thread.name), nice)
        Path(f"/proc/{process_id}/autogroup").write_text(str(nice))

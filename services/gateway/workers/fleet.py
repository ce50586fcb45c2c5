"""Worker fleet of a gateway: its codec and lm pools, watched together and asked together for a call's streams."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from moshi_cluster.services.common.errors import SessionError, Unavailable
from moshi_cluster.services.gateway.metrics import GatewayMetrics
from moshi_cluster.services.gateway.settings import GatewaySettings
from moshi_cluster.services.gateway.workers.pool import WorkerPool
from moshi_cluster.services.gateway.workers.streams import CallStreams, LastFrames
from moshi_cluster.v1 import common_pb2


class WorkerFleet:
    """All workers that a gateway knows."""

    def __init__(self, settings: GatewaySettings, metrics: GatewayMetrics) -> None:
        self.failed: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
        """Resolves when workers are no longer looked for."""
        self.codec = WorkerPool("codec", settings.codec_targets, settings.resolve_interval_s, settings.retry_after_ms)
        self.lm = WorkerPool("lm", settings.lm_targets, settings.resolve_interval_s, settings.retry_after_ms)
        self._pools = (self.codec, self.lm)
        self._open_timeout_s = settings.open_timeout_s
        self._metrics = metrics
        self._tasks: list[asyncio.Task[None]] = []
        for pool in self._pools:
            metrics.workers.labels(pool.service).set_function(pool.within_reach)

    def on_report(self, callback: Callable[[], None]) -> None:
        """Has this called whenever a worker has reported or is lost."""
        for pool in self._pools:
            pool.on_report = callback

    async def start(self) -> None:
        """Returns once a worker of each service takes sessions."""
        for pool in self._pools:
            self._tasks.append(asyncio.create_task(pool.run()))
            self._tasks[-1].add_done_callback(self._pool_over)
        for pool in self._pools:
            await pool.until_found()

    async def stop(self) -> None:
        """Lets go of the workers."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def is_reachable(self) -> bool:
        """Whether a worker of each service is within reach; it may be full."""
        return all(pool.is_reachable for pool in self._pools)

    @property
    def has_capacity(self) -> bool:
        """Whether a worker of each service had a free slot at its last report."""
        return all(pool.has_capacity for pool in self._pools)

    async def until_reachable(self) -> None:
        """Returns once a worker of each service is within reach. Raises Unavailable after `open_timeout_s`."""
        for pool in self._pools:
            try:
                async with asyncio.timeout(self._open_timeout_s):
                    await pool.until_found()
            except TimeoutError:
                raise _out_of_reach(pool) from None

    def require_reachable(self) -> None:
        """Raises Unavailable when a service has had no worker within reach for `open_timeout_s`."""
        for pool in self._pools:
            if pool.without_s > self._open_timeout_s:
                raise _out_of_reach(pool)

    async def open(self, sampling: common_pb2.Sampling, history: LastFrames) -> CallStreams:
        """The streams of a call, a slot behind each; counts the calls that get none. Raises NoFreeSlot or Unavailable.

        history: of the conversation to go on with.
        """
        try:
            return await self._open_in_time(sampling, history)
        except SessionError as error:
            self._metrics.rejected(error.status)
            raise

    async def _open_in_time(self, sampling: common_pb2.Sampling, history: LastFrames) -> CallStreams:
        try:
            async with asyncio.timeout(self._open_timeout_s):
                return await CallStreams.open(self.codec, self.lm, sampling, history)
        except TimeoutError:
            raise Unavailable("the workers did not open the call in time") from None

    def _pool_over(self, task: asyncio.Task[None]) -> None:
        """A pool runs until it is cancelled; without it no worker would ever be found again."""
        if not task.cancelled() and not self.failed.done():
            self.failed.set_result(task.exception() or RuntimeError("a worker pool ended"))


def _out_of_reach(pool: WorkerPool) -> Unavailable:
    return Unavailable(f"no {pool.service} worker is within reach")

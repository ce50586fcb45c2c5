"""Worker fleet of a gateway: its codec and lm pools, watched together and asked together for a call's streams."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from moshi_cluster.services.common.errors import NoFreeSlot, SessionError, Unavailable
from moshi_cluster.services.gateway.metrics import GatewayMetrics
from moshi_cluster.services.gateway.settings import GatewaySettings
from moshi_cluster.services.gateway.workers.channels import WorkerChannels
from moshi_cluster.services.gateway.workers.checkpoints import CheckpointWatch
from moshi_cluster.services.gateway.workers.elsewhere import Elsewhere
from moshi_cluster.services.gateway.workers.opening import NOBODY, LastFrames, Opening
from moshi_cluster.services.gateway.workers.placement import placements, why_nowhere
from moshi_cluster.services.gateway.workers.pool import WorkerPool
from moshi_cluster.services.gateway.workers.streams import CallStreams
from moshi_cluster.v1 import common_pb2


class WorkerFleet:
    """All workers that a gateway knows."""

    def __init__(self, settings: GatewaySettings, metrics: GatewayMetrics) -> None:
        self.failed: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
        """Resolves when workers are no longer looked for."""
        channels = WorkerChannels(settings.workers_mtls_dir)
        every_s, retry_ms = settings.resolve_interval_s, settings.retry_after_ms
        self.codec = WorkerPool("codec", settings.codec_targets, every_s, retry_ms, channels=channels)
        self.lm = WorkerPool("lm", settings.lm_targets, every_s, retry_ms, channels=channels)
        self.codec.partner, self.lm.partner = self.lm, self.codec
        self.elsewhere = Elsewhere(self.codec, self.lm)
        self._pools = (self.codec, self.lm)
        self._checkpoints = CheckpointWatch(self.codec, self.lm)
        self._open_timeout_s = settings.open_timeout_s
        self._retry_after_ms = settings.retry_after_ms
        self._ignores_prompts = settings.unsupported_prompts == "ignore-with-event"
        self._metrics = metrics
        self._tasks: list[asyncio.Task[None]] = []
        self._on_report: Callable[[], None] = lambda: None
        for pool in self._pools:
            pool.on_report = self._reported
            pool.watcher = metrics
            self._show(pool)

    def on_report(self, callback: Callable[[], None]) -> None:
        """Has this called whenever a worker has reported or is lost."""
        self._on_report = callback

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

    @property
    def free_slots(self) -> int:
        """Slots that calls could have now, of whichever service has fewer."""
        return min(pool.free_slots for pool in self._pools)

    async def until_reachable(self) -> None:
        """Returns once a worker of each service is within reach. Raises Unavailable after `open_timeout_s`."""
        for pool in self._pools:
            try:
                async with asyncio.timeout(self._open_timeout_s):
                    await pool.until_found()
            except TimeoutError:
                raise self._nowhere() from None

    def require_reachable(self) -> None:
        """Raises Unavailable when a service has had no worker within reach for `open_timeout_s`."""
        for pool in self._pools:
            if pool.without_s > self._open_timeout_s:
                raise self._nowhere()

    def can_go_on(self, checkpoint: str) -> bool:
        """Whether a conversation made with this lm checkpoint has a worker, or might have one once any is there."""
        lms = self.lm.usable
        return not checkpoint or not lms or any(worker.checkpoint == checkpoint for worker in lms)

    async def open(
        self,
        sampling: common_pb2.Sampling,
        history: LastFrames,
        checkpoint: str = "",
        persona: common_pb2.Persona = NOBODY,
    ) -> CallStreams:
        """The streams of a call, a slot behind each; counts the calls that get none. Raises NoFreeSlot or Unavailable.

        history: of the conversation to go on with. checkpoint: fingerprint of the lm that it was made with; it goes on
        with no other. Raises InvalidInput for a persona that the model does not take.
        """
        try:
            async with asyncio.timeout(self._open_timeout_s):
                return await self._open_somewhere(sampling, history, checkpoint, persona)
        except TimeoutError:
            self._metrics.rejected(Unavailable.status)
            raise Unavailable("the workers did not open the call in time", self._retry_after_ms) from None
        except SessionError as error:
            self._metrics.rejected(error.status)
            raise

    async def _open_somewhere(
        self, sampling: common_pb2.Sampling, history: LastFrames, checkpoint: str, persona: common_pb2.Persona
    ) -> CallStreams:
        refusals: list[SessionError] = []
        for placement in placements(self.codec, self.lm, checkpoint):
            try:
                session = Opening(sampling, history, persona, self._ignores_prompts)
                return await CallStreams.open(self.codec, self.lm, session, placement=placement)
            except (NoFreeSlot, Unavailable) as error:
                refusals.append(error)
        full = (error for error in refusals if isinstance(error, NoFreeSlot))
        raise next(full, None) or (refusals[0] if refusals else self._nowhere(checkpoint))

    def _nowhere(self, checkpoint: str = "") -> Unavailable:
        return Unavailable(why_nowhere(self.codec, self.lm, checkpoint), self._retry_after_ms)

    def _reported(self) -> None:
        """What one pool has bears on the other: workers that fit nobody are as good as not there."""
        for pool in self._pools:
            pool.look_again()
        self._checkpoints.look()
        self._metrics.observe_checkpoints(self._checkpoints.workers)
        self._on_report()

    def _show(self, pool: WorkerPool) -> None:
        self._metrics.workers.labels(pool.service).set_function(lambda: len(pool.usable))
        self._metrics.workers_unfit.labels(pool.service).set_function(lambda: len(pool.taking) - len(pool.usable))
        checkpoints = self._metrics.worker_checkpoints.labels(pool.service)
        checkpoints.set_function(lambda: self._checkpoints.checkpoints(pool.service))

    def _pool_over(self, task: asyncio.Task[None]) -> None:
        """A pool runs until it is cancelled; without it no worker would ever be found again."""
        if not task.cancelled() and not self.failed.done():
            self.failed.set_result(task.exception() or RuntimeError("a worker pool ended"))

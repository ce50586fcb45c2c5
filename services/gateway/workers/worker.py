"""Worker of a gateway's pool: one codec or lm process, as its own capacity reports describe it."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc

from moshi_cluster.services.common.code_shape import CodeShape
from moshi_cluster.services.common.errors import Unavailable
from moshi_cluster.services.common.mux.client import MuxClient
from moshi_cluster.services.gateway.metrics.of_workers import LossReason
from moshi_cluster.services.gateway.workers.channels import PLAIN, WorkerChannels
from moshi_cluster.v1 import worker_pb2, worker_pb2_grpc

_log = logging.getLogger(__name__)
_SILENT_LOOKS = 3
_DISTRUST_S = 10.0  # a worker that failed to open a session is asked last for so long
_RETRY_AFTER_MS = 1000
_LET_GO = "it drains, and is not needed any more"


@dataclass(frozen=True)
class WatchTimes:
    """How patiently workers are watched."""

    retry_s: float = 0.25
    """After a worker was lost or out of reach."""
    let_go_retry_s: float = 1.0
    """After it was let go of: the next process at its address is found so soon."""
    leaving_resolve_s: float = 1.0
    """Between two looks for the names of workers, while one leaves and takes sessions all the same."""
    wrong_service_retry_s: float = 5.0
    """After a process turned out to run something else."""
    silence_max_s: float = 3.0
    """A worker reports at least once a second; beyond this it is stopped or cut off."""
    tell_after_s: float = 5.0
    """Before an operator hears of a worker that was never there."""


TIMES = WatchTimes()


class Worker:
    """One process: watched, and with the streams of the calls that it carries."""

    def __init__(
        self,
        address: str,
        service: str,
        times: WatchTimes = TIMES,
        retry_after_ms: int = _RETRY_AFTER_MS,
        channels: WorkerChannels = PLAIN,
    ) -> None:
        """address: host:port. service: what it is expected to run; a process of another kind never takes sessions.

        retry_after_ms: hint to those whose call is lost with it.
        """
        self.address = address
        self.service = service
        self.is_named = True
        """Whether its name stands for it. Without, it keeps its calls and gets no new ones."""
        self.draining = asyncio.Event()
        """Set once it reports that it is about to stop."""
        self.lost_as: LossReason | None = None
        """Why it was lost last, until somebody has taken note."""
        self.capacity: worker_pb2.Capacity | None = None
        self._times = times
        self._retry_after_ms = retry_after_ms
        self._channels, self._pair = channels, channels.pair
        self._channel = channels.open(address, service)
        self.mux = MuxClient(self._channel, service, address)
        self._taken_since_report = 0
        self._failed_s = -math.inf
        self._stops_at_s = self._closes_at_s = math.inf
        self._is_let_go = self._gave_time = False

    @property
    def takes_sessions(self) -> bool:
        """Whether it is within reach under its name, has loaded and is not draining."""
        return self.is_named and self._has_loaded and not self.is_draining

    @property
    def lingers(self) -> bool:
        """Whether it drains and takes sessions all the same, where there is no other. Its name may be gone for that."""
        return self._has_loaded and self.is_draining and asyncio.get_running_loop().time() < self._closes_at_s

    @property
    def is_draining(self) -> bool:
        """Whether it has reported that it is about to stop."""
        return self.capacity is not None and self.capacity.draining

    @property
    def _has_loaded(self) -> bool:
        return self.capacity is not None and self.capacity.slots_total > 0

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
    def codec_checkpoint(self) -> str:
        """Fingerprint of the codec that belongs to an lm's checkpoint; empty for a codec, and where it is not known."""
        return self.capacity.codec_checkpoint if self.capacity else ""

    @property
    def worst_step_s(self) -> float:
        """Its longest step of the last minute; 0 where it is not known."""
        return self.capacity.step_max_us / 1e6 if self.capacity else 0.0

    @property
    def codes(self) -> CodeShape | None:
        """Codes of the frames that it takes and gives; None while it is out of reach."""
        if (capacity := self.capacity) is None:
            return None
        return CodeShape(capacity.user_codebooks, capacity.moshi_codebooks, capacity.codebook_size)

    @property
    def context_frames(self) -> int | None:
        """Frames of a session's history that it looks back on; None for one that does not say."""
        return self.capacity.context_frames or None if self.capacity else None

    @property
    def grace_left_s(self) -> float:
        """How long its sessions still have, once it is draining."""
        return max(0.0, self._stops_at_s - asyncio.get_running_loop().time())

    @property
    def rank(self) -> tuple[bool, int]:
        """Smaller is better."""
        distrusted = asyncio.get_running_loop().time() - self._failed_s < _DISTRUST_S
        return distrusted, -self.free_slots

    @property
    def is_empty(self) -> bool:
        """Whether nothing is lost without it: it is out of reach or carries no stream."""
        return self.capacity is None or not self.mux.streams

    def failed(self) -> None:
        """It could not open a session, or left one unanswered, although it is within reach."""
        self._failed_s = asyncio.get_running_loop().time()

    def took_slot(self) -> None:
        """Counts a slot until the next report includes it."""
        self._taken_since_report += 1

    def unavailable(self, problem: str) -> Unavailable:
        """The error of a call that loses it."""
        return Unavailable(problem, self._retry_after_ms)

    async def close(self) -> None:
        """Lets go of the worker; every stream to it is over."""
        await self.mux.close()
        await self._channel.close()

    async def watch(self, on_change: Callable[[], None], is_needed: Callable[[], bool] = lambda: True) -> None:
        """Follows the worker's reports until cancelled; a worker that cannot be reached has no capacity.

        is_needed: whether a worker that drains is. One that is not is let go of, so that it may end, and asked again
        after a second: the next process at its address is a new worker.
        """
        started_s: float | None = asyncio.get_running_loop().time()  # None: nothing to be said any more
        while True:
            why = await self._follow(on_change, is_needed)
            if self.capacity is not None:
                self._tell_down(why)
                self.capacity = started_s = None
                on_change()
            elif started_s is not None and asyncio.get_running_loop().time() - started_s > self._times.tell_after_s:
                _log.warning("worker out of reach, trying on worker=%s address=%s", self.service, self.address)
                started_s = None
            await asyncio.sleep(self._times.let_go_retry_s if self._is_let_go else self._times.retry_s)
            await self._renew_channel()

    async def _renew_channel(self) -> None:
        """Shows the certificate of now, where nothing is carried over the one of before."""
        if (pair := self._channels.pair) is self._pair or self.mux.streams:
            return
        self._pair, old = pair, self._channel
        self._channel = self._channels.open(self.address, self.service)
        await self.mux.use(self._channel)
        await old.close()

    async def _follow(self, on_change: Callable[[], None], is_needed: Callable[[], bool]) -> str:
        """Returns when the worker is lost, stands still or is not needed, with the reason; its streams are over.

        Those of one that leaves are not: they end by themselves, and its reports may end before the last answer is
        read.
        """
        reports = worker_pb2_grpc.WorkerStub(self._channel).WatchCapacity(worker_pb2.WatchCapacityRequest())
        try:
            while (report := await self._read(reports)) is not grpc.aio.EOF:
                if report.service != self.service:
                    _log.error("address=%s runs %s, expected %s", self.address, report.service, self.service)
                    await asyncio.sleep(self._times.wrong_service_retry_s)
                    return "it runs something else"
                self._take(report)
                on_change()
                if report.draining and not is_needed():
                    reports.cancel()
                    return _LET_GO
            why, leaves = "it has ended its reports", self.draining.is_set()
        except grpc.aio.AioRpcError as error:
            why, leaves = str(error.details() or error.code().name), self.draining.is_set()
        except TimeoutError as error:
            why, leaves = str(error), False
        if not leaves:
            self.mux.lose(why)
        if self.capacity is not None and not (leaves and self._gave_time):
            self.lost_as = "failed" if leaves else "lost"
        return why

    def _take(self, report: worker_pb2.Capacity) -> None:
        if self.capacity is None and not (self._is_let_go and report.draining):
            _log.info("worker up address=%s worker=%s", self.address, report.service)
            self._is_let_go = False
            self.draining.clear()
        self.capacity = report
        self._taken_since_report = 0
        if report.draining:
            now_s = asyncio.get_running_loop().time()
            self._stops_at_s = now_s + report.grace_ms / 1000
            self._closes_at_s = now_s + report.linger_ms / 1000
            self._gave_time = report.grace_ms > 0  # one whose engine has failed does not
            self.draining.set()

    def _tell_down(self, why: str) -> None:
        """A worker that leaves is told of once, although it is asked again until it is gone."""
        if why != _LET_GO:
            _log.warning("worker down address=%s why=%s", self.address, why)
        elif not self._is_let_go:
            _log.info("worker let go address=%s", self.address)
        self._is_let_go = why == _LET_GO

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

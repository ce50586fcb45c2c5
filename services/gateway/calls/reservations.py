"""Reservations: what a call needs before it begins, a slot of this gateway and its workers' slots, held together."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from moshi_cluster.services.gateway.admission.capacity import Admission
from moshi_cluster.services.gateway.admission.fair_order import Lane, Waiting
from moshi_cluster.services.gateway.admission.queue import AdmissionQueue, NotifyPosition
from moshi_cluster.services.gateway.calls.history import History
from moshi_cluster.services.gateway.calls.spec import CallSpec
from moshi_cluster.services.gateway.metrics import GatewayMetrics
from moshi_cluster.services.gateway.settings import GatewaySettings
from moshi_cluster.services.gateway.workers.fleet import WorkerFleet
from moshi_cluster.services.gateway.workers.streams import CallStreams


@dataclass(frozen=True)
class Reservation:
    """The slots of one call, held."""

    spec: CallSpec
    streams: CallStreams | None  # None for a loopback call
    history: History  # of what was said before
    asked_s: float  # when the caller asked for it; of those in the queue, when it was their turn


class Reservations:
    """Reserves for callers who take a refusal, and for clients who wait in the admission queue."""

    def __init__(
        self, settings: GatewaySettings, metrics: GatewayMetrics, admission: Admission, fleet: WorkerFleet
    ) -> None:
        self._admission = admission
        self._fleet = fleet
        self._queue = AdmissionQueue(
            settings.queue_clients, self._has_capacity, metrics, settings.retry_after_ms, admission.calls_of
        )
        admission.on_change = self._queue.look_again
        fleet.on_report(self._queue.look_again)

    @asynccontextmanager
    async def reserve(self, client: str, spec: CallSpec, history: History | None = None) -> AsyncIterator[Reservation]:
        """Held for as long as the context lasts. Raises Unavailable, NoFreeSlot or OverQuota, at once or, where others
        wait for a slot, after a second in which it may be this caller's turn.

        client: the caller's address. history: of the conversation to go on with.
        """
        asked_s = time.monotonic()
        who = Waiting(Lane.PHONE, client)
        async with AsyncExitStack() as held:
            held.enter_context(self._admission.client(client))

            def attempt() -> Awaitable[Reservation]:
                return held.enter_async_context(self._reserve(who.client, spec, _or_new(history), asked_s))

            if spec.loopback or self._queue.is_empty:
                yield await attempt()
            else:
                yield await self._queue.wait(attempt, _tell_nobody, self._check_queue, who)

    @asynccontextmanager
    async def reserve_in_queue(
        self, client: str, spec: CallSpec, notify: NotifyPosition, history: History | None = None
    ) -> AsyncIterator[Reservation]:
        """Held for as long as the context lasts, for a client who waits in the queue while every slot is in use.

        notify: called with their position while they wait. history: of the conversation to go on with. Raises
        Unavailable, OverQuota, or NoFreeSlot when too many wait.
        """
        who = Waiting(Lane.WEB, client)
        async with AsyncExitStack() as held:
            held.enter_context(self._admission.client(client))

            def attempt() -> Awaitable[Reservation]:
                asked_s = time.monotonic()
                return held.enter_async_context(self._reserve(who.client, spec, _or_new(history), asked_s))

            if spec.loopback:
                yield await attempt()
            else:
                await self._fleet.until_reachable()  # a gateway may be younger than its workers
                yield await self._queue.wait(attempt, notify, self._check_queue, who)

    @asynccontextmanager
    async def _reserve(
        self, client: str, spec: CallSpec, history: History, asked_s: float
    ) -> AsyncIterator[Reservation]:
        with self._admission.loopback() if spec.loopback else self._admission.slot(client):
            streams = None if spec.loopback else await self._open(spec, history)
            try:
                self._admission.require_open()  # a call that opens into a drain would never be told
                yield Reservation(spec, streams, history, asked_s)
            finally:
                if streams is not None:
                    streams.cancel()

    async def _open(self, spec: CallSpec, history: History) -> CallStreams:
        streams = await self._fleet.open(spec.sampling, history.last, history.checkpoint, spec.persona)
        history.checkpoint = streams.lm.checkpoint
        return streams

    def _has_capacity(self) -> bool:
        return self._admission.has_capacity and self._fleet.has_capacity

    def _check_queue(self) -> None:
        """Who waits in the queue waits for a call to end, and only a little for a machine to come back."""
        self._admission.require_open()
        self._fleet.require_reachable()


def _or_new(history: History | None) -> History:
    return History() if history is None else history


async def _tell_nobody(position: int, waiting: int) -> None:
    """Who telephones waits too little to be told."""

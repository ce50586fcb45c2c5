"""Capacity of a gateway: how many calls at once, how many of each client, none during a drain."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from moshi_cluster.services.common.errors import Draining, NoFreeSlot
from moshi_cluster.services.gateway.admission.rate_limits import ClientQuota
from moshi_cluster.services.gateway.metrics import GatewayMetrics
from moshi_cluster.services.gateway.settings import GatewaySettings


class Admission:
    """The slots of one gateway."""

    def __init__(self, settings: GatewaySettings, metrics: GatewayMetrics) -> None:
        self.calls = 0
        """Slots in use."""
        self.loopback_calls = 0
        """Calls up that need none."""
        self.is_draining = False
        self.on_change: Callable[[], None] = lambda: None
        """Called whenever a slot was taken or is free again, and once nobody is admitted any more."""
        self._settings = settings
        self._metrics = metrics
        self._slots: Counter[str] = Counter()
        self._clients = ClientQuota(settings.max_sessions_per_client)
        self._idle = asyncio.Event()
        self._idle.set()

    @contextmanager
    def client(self, client: str) -> Iterator[None]:
        """One of this client's calls for as long as the context lasts. Raises Draining or OverQuota."""
        self.require_open()
        with self._clients.session(client):
            yield

    @contextmanager
    def slot(self, client: str) -> Iterator[None]:
        """A slot for as long as the context lasts. Raises Draining or NoFreeSlot."""
        self.require_open()
        if not self.has_capacity:
            raise NoFreeSlot("this gateway holds all its calls", self._settings.retry_after_ms, calls=self.calls)
        self._count(client, +1)
        try:
            yield
        finally:
            self._count(client, -1)

    @contextmanager
    def loopback(self) -> Iterator[None]:
        """A place for a loopback call for as long as the context lasts. Raises Draining or NoFreeSlot."""
        self.require_open()
        if self.loopback_calls >= self._settings.max_loopback_sessions:
            problem = "this gateway holds all its loopback calls"
            raise NoFreeSlot(problem, self._settings.retry_after_ms, calls=self.loopback_calls)
        self._count_loopback(+1)
        try:
            yield
        finally:
            self._count_loopback(-1)

    @property
    def live(self) -> int:
        """Calls of both kinds that are up or about to be."""
        return self.calls + self.loopback_calls

    def calls_of(self, client: str) -> int:
        """Slots that one client has in use."""
        return self._slots[client]

    @property
    def has_capacity(self) -> bool:
        """Whether a slot is free."""
        return self.calls < self._settings.max_sessions

    @property
    def free_slots(self) -> int:
        """Slots that are free."""
        return self._settings.max_sessions - self.calls

    def require_open(self) -> None:
        """Raises Draining once nobody is admitted."""
        if self.is_draining:
            raise Draining("the gateway is draining")

    def drain(self) -> None:
        """Admits nobody from now on."""
        self.is_draining = True
        self.on_change()

    async def until_idle(self) -> None:
        """Returns once no call is left."""
        await self._idle.wait()

    def _count(self, client: str, change: int) -> None:
        self.calls += change
        self._slots[client] += change
        if not self._slots[client]:
            del self._slots[client]
        self._tell_live()
        self.on_change()

    def _count_loopback(self, change: int) -> None:
        self.loopback_calls += change
        self._tell_live()

    def _tell_live(self) -> None:
        self._metrics.calls_active.set(self.live)
        if self.live:
            self._idle.clear()
        else:
            self._idle.set()

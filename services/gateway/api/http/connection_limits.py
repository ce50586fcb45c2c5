"""Limits of HTTP connections: of one client, in all, and by the descriptors that this process has left."""

from __future__ import annotations

import asyncio
import resource
from collections import Counter
from collections.abc import Callable

from moshi_cluster.services.gateway.metrics import GatewayMetrics

_SPARE_DESCRIPTORS = 64  # for health checks, metrics, gRPC and workers


class ConnectionLimits:
    """Counts connections in and out; refusals are counted by their reason."""

    def __init__(
        self,
        most: int,
        most_per_client: int,
        metrics: GatewayMetrics,
        most_descriptors: Callable[[], int] | None = None,
    ) -> None:
        """most_descriptors: the process's limit, asked anew for every connection."""
        self._most = most
        self._most_per_client = most_per_client
        self._metrics = metrics
        self._most_descriptors = most_descriptors or _soft_limit
        self._clients: Counter[str] = Counter()

    def enter(self, transport: asyncio.BaseTransport) -> Callable[[], None] | None:
        """Counts a connection; what counts it out again, at its first call. None when there is no room for it."""
        client = str((transport.get_extra_info("peername") or ("unknown",))[0])
        reason = self._full(client, _descriptor(transport))
        if reason is not None:
            self._metrics.http_refused(reason)
            return None
        self._count(client, +1)
        inside = [client]
        return lambda: self._count(inside.pop(), -1) if inside else None

    def _full(self, client: str, descriptor: int) -> str | None:
        """Why there is no room. Descriptors are given out lowest first: a high one says how many are in use."""
        if self._clients.total() >= self._most:
            return "connections"
        if self._clients[client] >= self._most_per_client:
            return "client"
        return "descriptors" if descriptor >= self._most_descriptors() - _SPARE_DESCRIPTORS else None

    def _count(self, client: str, change: int) -> None:
        self._clients[client] += change
        if not self._clients[client]:
            del self._clients[client]
        self._metrics.http_connections.set(self._clients.total())


def _descriptor(transport: asyncio.BaseTransport) -> int:
    connection = transport.get_extra_info("socket")
    return -1 if connection is None else int(connection.fileno())


def _soft_limit() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 2**31 if soft == resource.RLIM_INFINITY else soft

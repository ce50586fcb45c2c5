"""Limits of HTTP connections: of one client, in all, and by the descriptors that this process has left."""

from __future__ import annotations

import resource
from collections import Counter
from collections.abc import Callable

from moshi_cluster.services.gateway.admission.trusted_proxies import TrustedProxies
from moshi_cluster.services.gateway.metrics import GatewayMetrics, HttpRefusal

_SPARE_DESCRIPTORS = 64  # for health checks, metrics, gRPC and workers


class ConnectionLimits:
    """Counts connections in and out; refusals are counted by their reason."""

    def __init__(
        self,
        most: int,
        most_per_client: int,
        metrics: GatewayMetrics,
        proxies: TrustedProxies | None = None,
        most_descriptors: Callable[[], int] | None = None,
    ) -> None:
        """proxies: no clients, and without a limit of their own. most_descriptors: of the process, asked every time."""
        self._most = most
        self._most_per_client = most_per_client
        self._metrics = metrics
        self._proxies = proxies or TrustedProxies()
        self._most_descriptors = most_descriptors or _soft_limit
        self._clients: Counter[str] = Counter()

    def enter(self, client: str, descriptor: int) -> Callable[[], None] | None:
        """Counts a connection; what counts it out again, at its first call. None when there is no room for it.

        client: their address. descriptor: the connection's.
        """
        reason = self._full(client, descriptor)
        if reason is not None:
            self.refuse(reason)
            return None
        self._count(client, +1)
        inside = [client]
        return lambda: self._count(inside.pop(), -1) if inside else None

    def refuse(self, reason: HttpRefusal) -> None:
        """Counts a connection that is closed."""
        self._metrics.http_refused(reason)

    def _full(self, client: str, descriptor: int) -> HttpRefusal | None:
        """Why there is no room. Descriptors are given out lowest first: a high one says how many are in use."""
        if self._clients.total() >= self._most:
            return "connections"
        if self._clients[client] >= self._most_per_client and not self._proxies.trusts(client):
            return "client"
        return "descriptors" if descriptor >= self._most_descriptors() - _SPARE_DESCRIPTORS else None

    def _count(self, client: str, change: int) -> None:
        self._clients[client] += change
        if not self._clients[client]:
            del self._clients[client]
        self._metrics.http_connections.set(self._clients.total())


def _soft_limit() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 2**31 if soft == resource.RLIM_INFINITY else soft

"""Who gets in: of one client, in all, and while descriptors are left."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from moshi_cluster.services.gateway.admission.trusted_proxies import TrustedProxies
from moshi_cluster.services.gateway.api.http.connection_limits import ConnectionLimits
from moshi_cluster.services.gateway.metrics import GatewayMetrics


class Door:
    """Limits and what they count."""

    def __init__(
        self, most: int = 1000, of_one: int = 1000, descriptors: int = 1 << 20, proxies: Sequence[str] = ()
    ) -> None:
        self.registry = CollectorRegistry()
        self.limits = ConnectionLimits(
            most, of_one, GatewayMetrics(self.registry), TrustedProxies(proxies), lambda: descriptors
        )

    def enter(self, client: str, descriptor: int = 10) -> Any:
        return self.limits.enter(client, descriptor)

    def refused(self, reason: str) -> float:
        return self.registry.get_sample_value("moshi_gateway_http_refused_total", {"reason": reason}) or 0.0

    @property
    def inside(self) -> float:
        return self.registry.get_sample_value("moshi_gateway_http_connections") or 0.0


@given(st.lists(st.sampled_from("abc")), st.integers(1, 5), st.integers(1, 3))
def test_nobody_gets_in_beyond_a_limit_and_who_leaves_makes_room(clients: list[str], most: int, of_one: int) -> None:
    door = Door(most, of_one)
    inside: list[tuple[str, Any]] = []
    refused = 0
    for client in clients:
        has_room = len(inside) < most and [name for name, _ in inside].count(client) < of_one
        leave = door.enter(client)
        assert (leave is not None) == has_room
        refused += not has_room
        if leave is not None:
            inside.append((client, leave))
        assert door.inside == len(inside)
        if len(inside) == most:
            _, leave = inside.pop(0)
            leave()
            leave()  # once is enough
    assert door.refused("client") + door.refused("connections") == refused


def test_the_last_descriptors_are_left_for_others() -> None:
    """They are given out lowest first: the sixty-fourth from the end is the first one that is kept free."""
    door = Door(descriptors=1024)
    assert door.enter("a", descriptor=959) is not None
    assert door.enter("a", descriptor=960) is None
    assert (door.refused("descriptors"), door.inside) == (1, 1)


def test_this_process_has_a_limit_of_descriptors() -> None:
    limits = ConnectionLimits(10, 10, GatewayMetrics(CollectorRegistry()))
    assert limits.enter("a", 10) is not None


def test_a_trusted_proxy_is_no_client_and_counts_among_all() -> None:
    door = Door(most=3, of_one=1, proxies=["10.0.0.0/8"])
    assert all(door.enter("10.0.0.1") is not None for _ in range(3))
    assert door.enter("10.0.0.1") is None
    assert door.refused("connections") == 1

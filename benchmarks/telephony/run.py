"""Run of simulated phones against one cluster: so many calls at once, each wire in turn."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import urlsplit

from benchmarks.telephony.phones import PORTS
from benchmarks.telephony.placed_call import PlacedCall, place
from moshi_cluster.cluster.local_cluster import LocalCluster
from moshi_cluster.cluster.ports import free_ports
from moshi_cluster.cluster.recorded_callers import RecordedCaller
from tests.services.gateway.api.telephony.simulators.phone import Gateway, Phone

_JOIN_EVERY_S = 0.13  # callers are out of step with each other, as people are
_BETWEEN_CALLS_S = 1.0


def environment(wires: Sequence[str]) -> dict[str, str]:
    """Variables of a cluster that serves these wires, each over TCP on a free port."""
    streams = [wire for wire in wires if wire in PORTS]
    free = zip(streams, free_ports(len(streams)), strict=True)
    ports = {f"MOSHI_GATEWAY_{PORTS[wire].upper()}": str(port) for wire, port in free}
    return {"MOSHI_GATEWAY_TELEPHONY": ",".join(wires), **ports}


def gateway_of(cluster: LocalCluster, variables: Mapping[str, str]) -> Gateway:
    """Where the phones call."""
    named = {wire: f"MOSHI_GATEWAY_{port.upper()}" for wire, port in PORTS.items()}
    ports = {wire: int(variables[name]) for wire, name in named.items() if name in variables}
    ports["grpc"] = int(cluster.address().rpartition(":")[2])
    return Gateway(urlsplit(cluster.http_url()).netloc, ports)


def plan(makers: Mapping[str, Callable[[], Phone]], recordings: Sequence[RecordedCaller]) -> list[PlacedCall]:
    """Every recording once over each wire, one wire after the other."""
    return [PlacedCall(wire, recording, make()) for recording in recordings for wire, make in makers.items()]


async def hold(calls: Sequence[PlacedCall], gateway: Gateway, at_once: int) -> None:
    """Makes the calls; whoever is free first makes the next one."""
    waiting = deque(calls)

    async def caller(number: int) -> None:
        await asyncio.sleep(number * _JOIN_EVERY_S)
        while waiting:
            call = waiting.popleft()
            await place(call, gateway, {"seed": "1", "label": f"{call.wire} {number}"})
            await asyncio.sleep(_BETWEEN_CALLS_S)

    await asyncio.gather(*map(caller, range(at_once)))


def quantile_ms(values_s: Sequence[float], q: float) -> float:
    """Of durations in seconds; nan of none."""
    ordered = sorted(values_s)
    return 1000 * ordered[math.ceil(q * len(ordered)) - 1] if ordered else math.nan

"""Callers beside a flood: what they get for a while without it, then with it."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import signal
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import grpc
import uvloop

from benchmarks.abuse.flood import Flood, Ports, Tally, run
from benchmarks.abuse.rpc import RPC_FLOODS, phone, showing
from benchmarks.abuse.web import WEB_FLOODS, come_again
from benchmarks.online.caller import Caller
from benchmarks.online.processes import ProcessWatch
from benchmarks.online.quantiles import quantile
from benchmarks.online.record import OK
from moshi_cluster.services.common.rpc import DIRECT

FLOODS: Mapping[str, Flood] = (
    WEB_FLOODS
    | RPC_FLOODS
    | {"web-again": Flood("browsers that come again at once, and phones", [come_again] * 12 + [phone] * 2)}
)

_SETTLE_S = 2.0  # calls have opened
_AFTER_S = 1.0  # what was late is there
_REST_S = 4.0  # the next callers have the flood's address: it may call again by then
_OVERDUE_S = 60.0  # a flood that has not ended by then will not; its process gets little time
_NICE = 19  # floods come from other machines: what these cost to make is not the cluster's


@dataclass(frozen=True)
class Part:
    """What the callers got in one part of a round."""

    frames: int
    p50_s: float
    p99_s: float


@dataclass(frozen=True)
class Round:
    """One flood beside callers."""

    name: str
    without: Part
    beside: Part
    tally: Tally
    calls_lost: int  # callers' calls that did not end OK
    frames_lost: int  # dropped of the callers' voice or of the replies to it
    grown_bytes: Mapping[str, int]  # resident memory of each service, from the flood's start to its end
    used_cores: Mapping[str, float]  # of each service during the flood


@asynccontextmanager
async def flooding_process() -> AsyncIterator[ProcessPoolExecutor]:
    """A process of lowest priority for floods, started and warm."""
    with ProcessPoolExecutor(1, get_context("spawn"), initializer=_step_back) as process:
        await _flooded(process, "web-pings", Ports("", "", "", ""), 0.0)
        yield process


async def beside(
    process: ProcessPoolExecutor,
    name: str,
    ports: Ports,
    callers: Sequence[Caller],
    pids: Mapping[str, int],
    part_s: float,
) -> Round:
    """The callers call; `part_s` seconds later the flood begins, and lasts as long."""
    watch = ProcessWatch(pids)
    async with grpc.aio.insecure_channel(ports.gateway, DIRECT) as channel, asyncio.TaskGroup() as calls:
        for caller in callers:
            calls.create_task(caller.call(channel, showing(ports.token)))
        await asyncio.sleep(_SETTLE_S)
        quiet_s = time.monotonic()
        await asyncio.sleep(part_s)
        watch.sample()
        flood_s = time.monotonic()
        tally = await _flooded(process, name, ports, part_s)
        over_s = time.monotonic()
        watch.sample()
        await asyncio.sleep(_AFTER_S)
        for caller in callers:
            caller.hang_up()
    await asyncio.sleep(_REST_S)
    return Round(
        name,
        _part(callers, quiet_s, flood_s),
        _part(callers, flood_s, over_s),
        tally,
        sum(caller.record.outcome != OK for caller in callers),
        sum(caller.record.matcher.dropped + caller.record.reply_dropped for caller in callers),
        {service: sizes[-1] - sizes[0] for service, sizes in watch.resident_bytes.items()},
        {service: used_s / (over_s - flood_s) for service, used_s in watch.used_cpu_s().items()},
    )


def call_s(part_s: float) -> float:
    """How long a caller has to be able to talk."""
    return _SETTLE_S + 2 * part_s + _AFTER_S + 10.0


def _step_back() -> None:
    """Gives this process what the others leave. Linux weighs whole sessions against each other where it groups them."""
    os.setsid()
    os.nice(_NICE)
    with contextlib.suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(_NICE))


async def _flooded(process: ProcessPoolExecutor, name: str, ports: Ports, seconds: float) -> Tally:
    """Raises TimeoutError, or BrokenProcessPool, if it does not end by itself."""
    async with asyncio.timeout(seconds + _OVERDUE_S):
        return await asyncio.get_running_loop().run_in_executor(process, _flood, name, ports, seconds)


def _flood(name: str, ports: Ports, seconds: float) -> Tally:
    signal.alarm(math.ceil(seconds + _OVERDUE_S))  # ends this process: its pool waits for it without a deadline
    try:
        return uvloop.run(run(FLOODS[name], ports, seconds))
    finally:
        signal.alarm(0)


def _part(callers: Sequence[Caller], begin_s: float, end_s: float) -> Part:
    """By the time at which a frame was due, so that one which never came to be counts where it was missing."""
    turnaround_s = sorted(
        turnaround
        for caller in callers
        for arrived, turnaround in zip(caller.record.matcher.arrived_s, caller.record.matcher.turnaround_s, strict=True)
        if begin_s <= arrived - turnaround < end_s
    )
    return Part(len(turnaround_s), quantile(turnaround_s, 0.5), quantile(turnaround_s, 0.99))

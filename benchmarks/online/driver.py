"""Driver of a run: makes the planned calls and watches them."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import grpc
import numpy as np

from benchmarks.online.caller import Caller
from benchmarks.online.impairments import Impairment, send_plan
from benchmarks.online.live import LiveView
from benchmarks.online.matching import FrameMatcher
from benchmarks.online.playback import SimulatedPlayback
from benchmarks.online.processes import ProcessWatch, machine_cpu_s
from benchmarks.online.record import CallRecord
from benchmarks.online.resuming import resume
from benchmarks.online.scenarios import PlannedCall
from benchmarks.online.speech import LineFormat, choose, first_packet
from moshi_cluster.services.common.rpc import DIRECT
from moshi_cluster.v1 import common_pb2, gateway_pb2

_WATCH_PERIOD_S = 1.0
_CONNECT_TIMEOUT_S = 10.0
# Each channel a connection of its own, as telephony systems have.
_CHANNEL_OPTIONS = (*DIRECT, ("grpc.use_local_subchannel_pool", 1))


@dataclass(frozen=True)
class RunOptions:
    """What is the same for all calls of a run."""

    line: LineFormat
    impairments: Sequence[Impairment] = ()
    seed: int = 1
    loopback: bool = False
    paced_replies: bool = False

    def start(self, caller: int) -> gateway_pb2.Start:
        """The caller's first message."""
        pacing = gateway_pb2.Start.REPLY_PACING_PACED if self.paced_replies else gateway_pb2.Start.REPLY_PACING_BURST
        return gateway_pb2.Start(
            input_format=self.line.message(),
            reply_packet_ms=self.line.reply_packet_ms,
            sampling=common_pb2.Sampling(seed=self.seed + caller),
            loopback=self.loopback,
            reply_pacing=pacing,
            call_label=f"load-{caller}",
        )


@dataclass(frozen=True)
class Run:
    """What happened."""

    begin_s: float
    end_s: float
    records: Sequence[CallRecord]  # of the calls that were made
    driver_cpu_s: float
    machine_cpu_s: float  # of everything that ran on this machine meanwhile
    stopped_because: str  # empty when the plan was carried out


def make_callers(plan: Sequence[PlannedCall], options: RunOptions, loops: Sequence[list[bytes]]) -> list[Caller]:
    """Everything that can be prepared before the run; loops: the recordings as messages."""
    line = options.line
    callers_total = 1 + max((call.caller for call in plan), default=0)
    callers = []
    for index, call in enumerate(plan):
        messages = choose(loops, call.caller)
        record = CallRecord(call, line, FrameMatcher(line.rate_hz, line.packet_samples), SimulatedPlayback())
        random = np.random.default_rng((options.seed, index))
        sends = send_plan(line.packets_of(call.frames), line.packet_ms / 1000, options.impairments, call.caller, random)
        first = first_packet(call.caller, callers_total, len(messages))
        callers.append(Caller(record, options.start(call.caller), messages, first, sends))
    return callers


async def drive(
    target: str,
    callers: Sequence[Caller],
    connections: int,
    processes: ProcessWatch,
    watch: Callable[[LiveView], str],
    resumes: bool = False,
) -> Run:
    """Makes the calls to the gateway at host:port. resumes: a call that is lost goes on in another one.

    watch: called every second; a reason ends the run: live calls hang up, the others are not made. Raises
    ConnectionError when nothing answers there.
    """
    async with contextlib.AsyncExitStack() as open_channels:
        channels = [
            await open_channels.enter_async_context(grpc.aio.insecure_channel(target, _CHANNEL_OPTIONS))
            for _ in range(connections)
        ]
        await _connect(channels, target)
        gc.collect()
        gc.freeze()  # what was prepared is not looked through again during the run
        stop, everybody = asyncio.Event(), list(callers)

        async def go_on(caller: Caller) -> None:
            if resumes:
                await resume(caller, everybody, target, _CHANNEL_OPTIONS)

        begin_s, begin_cpu_s, begin_machine_cpu_s = time.monotonic(), time.process_time(), machine_cpu_s()
        processes.sample()
        calls = [
            asyncio.create_task(_call(caller, channels[index % connections], begin_s, stop, go_on))
            for index, caller in enumerate(callers)
        ]
        try:
            stopped_because = await _watch(LiveView(begin_s, everybody), calls, processes, watch, stop)
        finally:
            for call in calls:
                call.cancel()
            await asyncio.wait(calls)
            gc.unfreeze()
        processes.sample()
        cpu_s, all_cpu_s = time.process_time() - begin_cpu_s, machine_cpu_s() - begin_machine_cpu_s
        end_s = time.monotonic()
    made = [caller.record for caller in everybody if caller.record.is_over]
    return Run(begin_s, end_s, made, cpu_s, all_cpu_s, stopped_because)


async def _connect(channels: Sequence[grpc.aio.Channel], target: str) -> None:
    try:
        async with asyncio.timeout(_CONNECT_TIMEOUT_S):
            await asyncio.gather(*(channel.channel_ready() for channel in channels))
    except TimeoutError as error:
        raise ConnectionError(f"no gateway answers at {target} within {_CONNECT_TIMEOUT_S:g} s") from error


async def _call(
    caller: Caller,
    channel: grpc.aio.Channel,
    begin_s: float,
    stop: asyncio.Event,
    go_on: Callable[[Caller], Awaitable[None]],
) -> None:
    try:
        async with asyncio.timeout(begin_s + caller.record.plan.start_s - time.monotonic()):
            await stop.wait()
    except TimeoutError:
        await caller.call(channel)
        await go_on(caller)


async def _watch(
    view: LiveView,
    calls: Sequence[asyncio.Task[None]],
    processes: ProcessWatch,
    watch: Callable[[LiveView], str],
    stop: asyncio.Event,
) -> str:
    """Looks at the run once a second until all calls are over. Returns why it was stopped, or nothing."""
    waiting, next_s, reason = set(calls), view.begin_s, ""
    while waiting:
        next_s += _WATCH_PERIOD_S
        done, waiting = await asyncio.wait(
            waiting, timeout=max(0.0, next_s - time.monotonic()), return_when=asyncio.FIRST_EXCEPTION
        )
        for call in done:
            call.result()
        processes.sample()
        if not reason and (reason := watch(view)):
            stop.set()
            for caller in view.callers:
                caller.hang_up()
    return reason

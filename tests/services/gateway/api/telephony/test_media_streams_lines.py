"""Exact counts of Twilio and its dialects on bad lines, in simulated time: wire, order, ingress, clock."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
import pytest

from moshi_cluster.services.gateway.api.telephony.media_streams import (
    PLIVO,
    TWILIO,
    Dialect,
    MediaStreamsWire,
)
from moshi_cluster.services.gateway.api.telephony.wire import Request
from tests.services.gateway.api.telephony.line import Line
from tests.simulated_loop import run_simulated

PACKET_S = 0.02
MINUTE = 3000
EVERY = pytest.mark.parametrize("dialect", [TWILIO, PLIVO], ids=["with times", "without"])

Packet = tuple[float, int, int]  # when it arrives, its number, when it was spoken in milliseconds


class TimedLine(Line):
    """A line whose packets may also be given up by a timer of the loop."""

    def feed(self, data: bytes) -> None:
        self.wait_until(asyncio.get_running_loop().time())
        super().feed(data)


def line_of(dialect: Dialect, packets: Sequence[Packet]) -> TimedLine:
    """The line after all of it."""

    async def run() -> TimedLine:
        wire = MediaStreamsWire(dialect, Request("192.0.2.1"))
        media_format = {"encoding": "audio/x-mulaw", dialect.sample_rate: 8000}
        start = {"event": "start", dialect.stream: "S", "start": {dialect.media_format: media_format}}
        line, loop = TimedLine(wire, json.dumps(start)), asyncio.get_running_loop()
        for arrives_s, number, time_ms in packets:
            await asyncio.sleep(arrives_s - loop.time())
            media = {"chunk": str(number), "timestamp": str(time_ms), "payload": base64.b64encode(bytes(160)).decode()}
            line.receive(json.dumps({"event": "media", "media": media}), loop.time())
        await asyncio.sleep(0.1)
        return line

    return run_simulated(run())


def spoken(numbers: Sequence[int], ppm: float = 0.0) -> list[Packet]:
    """Packets that arrive as they are spoken, by a clock that is off by so much."""
    return [(number * PACKET_S * (1 + ppm * 1e-6), number, 20 * (number - 1)) for number in numbers]


def counted(line: TimedLine, **wanted: int) -> None:
    counts = asdict(line.close())
    assert {name: count for name, count in counts.items() if count} == wanted
    line.check()


@EVERY
@pytest.mark.parametrize("ppm", [-100, 100])
def test_a_clock_of_its_own_costs_nothing_for_two_minutes(dialect: Dialect, ppm: int) -> None:
    line = line_of(dialect, spoken(range(1, 2 * MINUTE + 1), ppm))
    counted(line, received=2 * MINUTE)
    assert (line.counters.frames_in, line.counters.frames_filled, line.counters.frames_dropped) == (1500, 0, 0)


@EVERY
def test_lost_packets_are_silence_and_every_frame_is_there(dialect: Dialect) -> None:
    lost = set(range(100, MINUTE, 50)) | set(range(101, MINUTE, 100))
    line = line_of(dialect, spoken([number for number in range(1, MINUTE + 1) if number not in lost]))
    counted(line, received=MINUTE - len(lost), lost=len(lost), filled=len(lost))
    assert (line.counters.frames_in, line.counters.frames_filled, line.counters.frames_dropped) == (750, 0, 0)


@EVERY
def test_reordered_and_repeated_packets_change_nothing(dialect: Dialect) -> None:
    packets = spoken(range(1, MINUTE + 1))
    for place in range(100, MINUTE - 10, 100):
        packets[place], packets[place + 1] = packets[place + 1], packets[place]
        packets[place + 10] = packets[place + 9]
    packets = [(PACKET_S * (place + 1), packet[1], packet[2]) for place, packet in enumerate(packets)]
    line = line_of(dialect, packets)
    swapped = len(range(100, MINUTE - 10, 100))
    counted(line, received=MINUTE, reordered=swapped, repeated=swapped, lost=swapped, filled=swapped)
    assert (line.counters.frames_in, line.counters.frames_filled, line.counters.frames_dropped) == (750, 0, 0)


@EVERY
def test_jitter_costs_nothing(dialect: Dialect) -> None:
    packets, random = spoken(range(1, MINUTE + 1)), np.random.default_rng(1)
    arrivals_s = np.maximum.accumulate([packet[0] for packet in packets] + random.uniform(0, 0.06, MINUTE))
    packets = [(float(at_s), packet[1], packet[2]) for at_s, packet in zip(arrivals_s, packets, strict=True)]
    line = line_of(dialect, packets)
    counted(line, received=MINUTE)
    assert (line.counters.frames_in, line.counters.frames_filled, line.counters.frames_dropped) == (750, 0, 0)


def test_what_is_lost_before_it_is_numbered_is_told_by_the_time_where_that_is_exact() -> None:
    """As streamdouble has it: numbers without a gap, times with one."""
    times = [number for number in range(1, MINUTE + 1) if number % 20]
    packets = [(number * PACKET_S, place, 20 * (number - 1)) for place, number in enumerate(times, 1)]
    missing = MINUTE // 20 - 1  # the last one is missed by nobody
    line = line_of(TWILIO, packets)
    counted(line, received=len(times), lost=missing, filled=missing)
    assert line.counters.frames_dropped == 0


def test_a_pause_is_filled_once() -> None:
    numbers = [*range(1, 501), *range(551, 1001)]
    line = line_of(TWILIO, spoken(numbers))
    counted(line, received=950, lost=50)
    frames = line.counters.frames_in + line.counters.frames_filled - line.counters.frames_dropped
    assert abs(frames - 250) <= 1

"""Line impairments: what bad lines do to packets, as declarative objects that combine in any order.

Each changes a `PacketSchedule`: which packets are lost on the way and how late the others leave. All of it is drawn
before the call from the caller's own random numbers, so the same seed gives the same schedule.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass
class PacketSchedule:
    """One caller's packets on their way to the gateway."""

    packet_s: float
    due_s: NDArray[np.float64]  # [packets] when each would leave a perfect line, from the first one on
    delay_s: NDArray[np.float64]  # [packets] how much later it leaves this one
    lost: NDArray[np.bool_]  # [packets] whether it never leaves

    @staticmethod
    def perfect(packets: int, packet_s: float) -> PacketSchedule:
        """Packet n leaves n packet lengths after the first."""
        return PacketSchedule(
            packet_s, np.arange(packets, dtype=np.float64) * packet_s, np.zeros(packets), np.zeros(packets, dtype=bool)
        )


class Impairment(Protocol):
    """Something that is wrong with a line."""

    def apply(self, schedule: PacketSchedule, caller: int, random: np.random.Generator) -> None:
        """Changes the schedule in place."""


@dataclass(frozen=True)
class RandomLoss:
    """Packets are lost independently of each other."""

    ratio: float

    def apply(self, schedule: PacketSchedule, caller: int, random: np.random.Generator) -> None:
        schedule.lost |= random.random(schedule.lost.size) < self.ratio


@dataclass(frozen=True)
class BurstLoss:
    """Gilbert-Elliott: a good state that loses nothing and a bad one that loses everything, entered with the
    probability that makes `ratio` the share of lost packets and left after `mean_packets` on average."""

    ratio: float
    mean_packets: float

    def apply(self, schedule: PacketSchedule, caller: int, random: np.random.Generator) -> None:
        leave = 1 / self.mean_packets
        enter = leave * self.ratio / (1 - self.ratio)
        bad = random.random() < self.ratio
        for index, draw in enumerate(random.random(schedule.lost.size)):
            schedule.lost[index] |= bad
            bad = draw >= leave if bad else draw < enter


@dataclass(frozen=True)
class Jitter:
    """Every packet is late by the magnitude of a normal variable, at most three standard deviations."""

    deviation_s: float

    def apply(self, schedule: PacketSchedule, caller: int, random: np.random.Generator) -> None:
        late_s = np.abs(random.normal(0.0, self.deviation_s, schedule.delay_s.size))
        schedule.delay_s += np.minimum(late_s, 3 * self.deviation_s)


@dataclass(frozen=True)
class Bursts:
    """Now and then (Poisson) the line holds every packet for `hold_s` and then lets them all go at once."""

    hold_s: float
    mean_interval_s: float

    def apply(self, schedule: PacketSchedule, caller: int, random: np.random.Generator) -> None:
        if not schedule.due_s.size:
            return
        begin_s = random.exponential(self.mean_interval_s)
        while begin_s < schedule.due_s[-1]:
            held = (schedule.due_s >= begin_s) & (schedule.due_s < begin_s + self.hold_s)
            schedule.delay_s[held] = np.maximum(schedule.delay_s[held], begin_s + self.hold_s - schedule.due_s[held])
            begin_s += self.hold_s + random.exponential(self.mean_interval_s)


@dataclass(frozen=True)
class ClockSkew:
    """Callers with even numbers have a clock that is slow by `ppm` parts per million, the others a fast one."""

    ppm: float

    def apply(self, schedule: PacketSchedule, caller: int, random: np.random.Generator) -> None:
        schedule.due_s *= 1 + (self.ppm if caller % 2 == 0 else -self.ppm) * 1e-6


IMPAIRMENTS: dict[str, tuple[Impairment, str]] = {
    "loss": (RandomLoss(0.01), "1 % of packets lost at random"),
    "burst-loss": (BurstLoss(0.03, 5), "3 % of packets lost, 5 in a row on average (Gilbert-Elliott)"),
    "jitter": (Jitter(0.03), "packets late by the magnitude of a normal variable of 30 ms, at most 90 ms"),
    "bursts": (Bursts(0.2, 5.0), "200 ms of packets held and let go at once, every 5 s on average"),
    "clock": (ClockSkew(100), "callers' clocks off by 100 ppm, half of them slow, half fast"),
}


@dataclass(frozen=True)
class SendPlan:
    """What leaves a caller and when: `packets[i]` at `offsets_s[i]` after the call's first packet was due."""

    packets: Sequence[int]  # ascending numbers of the packets that are not lost
    offsets_s: Sequence[float]  # never descending: a stream keeps its order


def send_plan(
    packets: int, packet_s: float, impairments: Sequence[Impairment], caller: int, random: np.random.Generator
) -> SendPlan:
    """An absolute schedule: no offset depends on when anything really left."""
    schedule = PacketSchedule.perfect(packets, packet_s)
    for impairment in impairments:
        impairment.apply(schedule, caller, random)
    kept = np.flatnonzero(~schedule.lost)
    offsets_s = np.maximum.accumulate((schedule.due_s + schedule.delay_s)[kept])
    return SendPlan(kept.tolist(), offsets_s.tolist())

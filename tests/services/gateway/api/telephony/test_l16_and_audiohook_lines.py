"""Exact counts of FreeSWITCH's modules and of Genesys on bad lines, in simulated time: wire, order, ingress, clock."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from multidict import CIMultiDict

from moshi_cluster.services.gateway.api.telephony.audiohook import AudioHookWire
from moshi_cluster.services.gateway.api.telephony.freeswitch import AudioForkWire, AudioStreamWire
from moshi_cluster.services.gateway.api.telephony.packet_order import PacketCounts
from moshi_cluster.services.gateway.api.telephony.wire import Control, Request
from tests.services.gateway.api.telephony.line import FIRST_PACKET_S, Line
from tests.services.gateway.api.telephony.simulators.audiohook import EXTERNAL, ORGANIZATION

REQUEST = Request("192.0.2.1", headers=CIMultiDict(), query={})
SESSION = "30b0e395-84d3-4570-ac13-9a62d8f514c0"


@dataclass(frozen=True)
class Kind:
    """A wire and its packets."""

    packet_ms: int
    packet: bytes
    open: Callable[[], Line]


def jambonz() -> Line:
    return Line(AudioForkWire(REQUEST, "audio.jambonz.org", False), json.dumps({"sampleRate": 24_000}))


def audio_stream() -> Line:
    return Line(AudioStreamWire(REQUEST), json.dumps({"sampleRate": 8_000}))


def told(kind: str, seq: int, **parameters: Any) -> str:
    numbers = {"seq": seq, "serverseq": 0, "position": "PT0S"}
    return json.dumps({"version": "2", "type": kind, "id": SESSION, **numbers, "parameters": parameters})


def genesys() -> Line:
    opening = {"organizationId": ORGANIZATION, "conversationId": SESSION, "media": [EXTERNAL]}
    return Line(AudioHookWire(REQUEST, is_authenticated=False), told("open", 1, **opening))


LOUD = np.full(480, 8_000, "<i2").tobytes()
KINDS = {
    "jambonz": Kind(20, LOUD, jambonz),
    "mod_audio_stream": Kind(20, LOUD[:320], audio_stream),
    "genesys": Kind(200, bytes([0x20]) * 1600, genesys),
}
by_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


def run(kind: Kind, arrivals_s: Iterable[float], end_s: float) -> tuple[Line, PacketCounts]:
    line = kind.open()
    for now_s in arrivals_s:
        line.receive(kind.packet, now_s)
    line.wait_until(end_s)
    line.check()
    return line, line.close()


def spoken(kind: Kind, seconds: float, ppm: float = 0) -> np.ndarray:
    """When packets are complete, by a clock that is so much fast."""
    return (np.arange(round(seconds * 1000 / kind.packet_ms)) + 1) * kind.packet_ms / 1000 / (1 + ppm * 1e-6)


@by_kind
@pytest.mark.parametrize("ppm", [-100, 100])
def test_of_a_clock_that_is_off_nothing_is_filled_or_dropped(kind: Kind, ppm: int) -> None:
    arrivals_s = spoken(kind, 240, ppm)
    line, packets = run(kind, arrivals_s, arrivals_s[-1])
    assert packets == PacketCounts(received=arrivals_s.size)
    assert (line.counters.frames_in, line.counters.frames_filled, line.counters.frames_dropped) == (3_000, 0, 0)


@by_kind
@pytest.mark.parametrize("seed", range(2))
def test_jitter_within_the_allowance_changes_nothing(kind: Kind, seed: int) -> None:
    late_s = np.abs(np.random.default_rng(seed).normal(0, 0.02, spoken(kind, 40).size)).clip(0, 0.06)
    arrivals_s = np.maximum.accumulate(spoken(kind, 40) + late_s)
    line, packets = run(kind, arrivals_s, arrivals_s[-1])
    assert packets == PacketCounts(received=arrivals_s.size)
    assert (line.counters.frames_in, line.counters.frames_filled, line.counters.frames_dropped) == (500, 0, 0)


@by_kind
@pytest.mark.parametrize("seed", range(2))
def test_what_a_module_drops_is_silence_and_the_call_stays_real_time(kind: Kind, seed: int) -> None:
    """A full buffer of the module: packets that have no number are missing. A connection loses and reorders none."""
    keep = np.random.default_rng(seed).random(spoken(kind, 40).size) >= 0.03
    line, packets = run(kind, spoken(kind, 40)[keep], 40)
    assert packets == PacketCounts(received=int(keep.sum()))
    assert line.stepped == pytest.approx(500, abs=4)
    assert line.counters.frames_dropped == 0
    assert line.counters.frames_filled >= (~keep).sum() * kind.packet_ms / 80 - 3


@by_kind
def test_what_a_stall_held_back_comes_at_once_and_is_caught_up_with(kind: Kind) -> None:
    """A second without a packet, as when TCP repeats one, and then all of them."""
    arrivals_s = np.where((spoken(kind, 40) > 10) & (spoken(kind, 40) <= 11), 11, spoken(kind, 40))
    line, packets = run(kind, arrivals_s, 40)
    assert packets == PacketCounts(received=arrivals_s.size)
    counters = line.counters
    assert counters.frames_in == 500
    assert counters.frames_filled == pytest.approx(10.5, abs=2.5)
    assert counters.frames_dropped == pytest.approx(counters.frames_filled, abs=2)


@by_kind
def test_a_late_start_and_silence_in_between_are_filled(kind: Kind) -> None:
    arrivals_s = np.concatenate((3 + spoken(kind, 4), 12 + spoken(kind, 4)))
    line, packets = run(kind, arrivals_s, 16)
    assert packets == PacketCounts(received=arrivals_s.size)
    assert line.counters.frames_dropped == 0
    assert line.stepped == pytest.approx((16 - FIRST_PACKET_S) / 0.08, abs=3)


def test_what_genesys_has_thrown_away_is_counted_to_the_packet() -> None:
    line = genesys()
    line.receive(KINDS["genesys"].packet, 0.2)
    line.receive(told("discarded", 2, start="PT0.2S", discarded="PT0.6S"), 0.9)
    line.receive(KINDS["genesys"].packet, 1.0)
    line.receive(KINDS["genesys"].packet, 1.2)
    assert line.close() == PacketCounts(received=3, lost=3)


def test_the_time_on_hold_at_genesys_is_no_loss() -> None:
    line = genesys()
    line.receive(KINDS["genesys"].packet, 0.2)
    assert line.wire.parse(told("paused", 2)) == (Control.PAUSE,)
    assert line.wire.parse(told("resumed", 3, start="PT0.2S", discarded="PT60S")) == (Control.RESUME,)
    line.receive(KINDS["genesys"].packet, 60.4)
    line.receive(KINDS["genesys"].packet, 60.6)
    assert line.close() == PacketCounts(received=3)

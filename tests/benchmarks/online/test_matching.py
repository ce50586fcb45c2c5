"""Each reply frame is matched with the frame that it answers, or with none."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from benchmarks.online.impairments import IMPAIRMENTS, send_plan
from benchmarks.online.matching import CountersThen, FrameMatcher
from tests.benchmarks.online.simulated_gateway import SimulatedCall

PACKET_S = 0.02
PACKETS = 1500  # half a minute


def sends(names: Sequence[str], seed: int = 0, packets: int = PACKETS) -> Sequence[float]:
    impairments = [IMPAIRMENTS[name][0] for name in names]
    return send_plan(packets, PACKET_S, impairments, 0, np.random.default_rng(seed)).offsets_s


def assert_exact(call: SimulatedCall) -> None:
    """Every placed frame has its true turnaround, and placed and unplaced ones together are all replies."""
    matcher = call.run()
    placed = list(matcher._placed_frames)
    assert list(matcher.turnaround_s) == pytest.approx([call.truth[frame] for frame in placed])
    assert len(placed) + matcher.unplaced == len(call.truth)


def test_without_fills_and_drops_every_reply_is_placed() -> None:
    call = SimulatedCall(sends([]))
    assert_exact(call)
    assert call.matcher.unplaced == 0
    assert len(call.truth) == PACKETS // 4


@pytest.mark.parametrize("seed", range(5))
def test_jitter_leaves_every_reply_in_its_place(seed: int) -> None:
    call = SimulatedCall(sends(["jitter"], seed))
    assert_exact(call)
    assert call.matcher.unplaced == 0


@pytest.mark.parametrize("names", [["loss"], ["burst-loss"], ["bursts"], ["burst-loss", "bursts", "jitter"]])
@pytest.mark.parametrize("seed", range(5))
def test_fills_and_drops_make_no_turnaround_wrong(names: list[str], seed: int) -> None:
    call = SimulatedCall(sends(names, seed))
    assert_exact(call)
    assert call.matcher.filled > 0
    assert call.matcher.unplaced < len(call.truth) / 2


def test_a_single_fill_costs_a_few_places_only() -> None:
    lost = range(500, 506)
    call = SimulatedCall([index * PACKET_S for index in range(PACKETS) if index not in lost])
    assert_exact(call)
    assert call.matcher.filled == 1
    assert call.matcher.unplaced <= 6


def test_a_stalled_model_is_seen_in_the_turnaround_and_not_blamed_on_places() -> None:
    call = SimulatedCall(sends([]), stall=(10.0, 10.3))
    assert_exact(call)
    assert max(call.matcher.turnaround_s) > 0.25
    assert call.matcher.unplaced == 0


def test_drops_of_an_overrun_backlog_make_no_turnaround_wrong() -> None:
    call = SimulatedCall(sends([]), stall=(10.0, 12.0))
    assert_exact(call)
    assert call.matcher.dropped > 0


def test_a_reply_to_what_was_not_said_has_no_place() -> None:
    matcher = FrameMatcher(8000, 160)
    matcher.sent(0.0)
    matcher.replied(0, 0.1)
    assert (list(matcher.turnaround_s), matcher.unplaced) == ([], 1)
    assert matcher.wants_counters


def test_the_last_frame_answers_the_last_packet_although_silence_completes_it() -> None:
    matcher = FrameMatcher(8000, 160)
    for packet in range(5):
        matcher.sent(packet * PACKET_S)
    matcher.hung_up()
    matcher.replied(0, 0.1)
    matcher.replied(1, 0.12)
    assert list(matcher.turnaround_s) == pytest.approx([0.04, 0.04])


def test_counters_that_skip_a_packet_place_nothing() -> None:
    matcher = FrameMatcher(8000, 160)
    matcher.told(0, 0.0, filled=1)
    matcher.counted(CountersThen(480, 0, 1, 0))
    matcher.counted(CountersThen(800, 1, 1, 0))
    assert matcher.wants_counters


def test_packets_that_frames_do_not_end_with_are_not_asked_about() -> None:
    matcher = FrameMatcher(8000, 240)
    matcher.told(0, 0.0, filled=1)
    assert not matcher.wants_counters

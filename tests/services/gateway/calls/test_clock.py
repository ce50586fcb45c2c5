"""Calls in simulated time: when frames arrive is given, the model answers after a step, the caller plays what comes."""

import random
from collections.abc import Iterable
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moshi_cluster.services.gateway.calls.clock import CallerClock

FRAME_S = 0.08
STEP_S = 0.02


@dataclass
class Call:
    """What a simulated call did, by time."""

    frames_in: int = 0
    filled_at_s: list[float] = field(default_factory=list)
    dropped_at_s: list[float] = field(default_factory=list)
    stepped_at_s: list[float] = field(default_factory=list)
    turnarounds: list[tuple[float, float]] = field(default_factory=list)
    """(when the answer came, how long the frame had waited for it)"""
    waiting_frames_max: int = 0

    @property
    def frames_filled(self) -> int:
        return len(self.filled_at_s)

    @property
    def frames_dropped(self) -> int:
        return len(self.dropped_at_s)

    @property
    def frames_stepped(self) -> int:
        return len(self.stepped_at_s)

    def playback_max_s(self, from_s: float, to_s: float) -> float:
        """Most that a caller who plays the answers one after the other had yet to hear."""
        buffered_s, last_s, most_s = 0.0, 0.0, 0.0
        for stepped_s in self.stepped_at_s:
            buffered_s = max(0.0, buffered_s - (stepped_s - last_s)) + FRAME_S
            last_s = stepped_s
            if from_s <= stepped_s < to_s:
                most_s = max(most_s, buffered_s)
        return most_s


Arrival = tuple[float, bool, int]
"""When a frame comes, whether it is quiet, and how many came before it in the same message."""


def simulate(
    arrivals: Iterable[Arrival | tuple[float, bool] | float],
    end_s: float,
    clock: CallerClock | None = None,
    stall: tuple[float, float] = (-1.0, -1.0),
    step_s: float = STEP_S,
) -> Call:
    """Frames arrive at the given times, with quiet and together or without. No frame is taken during `stall`."""
    clock = clock or CallerClock(start_s=0.0)
    call = Call()
    waiting: list[float] = []
    defaults = (0.0, False, 0)
    coming = [arrival if isinstance(arrival, tuple) else (arrival,) for arrival in arrivals]
    coming = sorted((*arrival, *defaults[len(arrival) :]) for arrival in coming)
    coming = [arrival for arrival in coming if arrival[0] < end_s]
    index, free_s, now_s = 0, 0.0, 0.0
    while True:
        next_frame_s = coming[index][0] if index < len(coming) else end_s
        next_step_s = max(now_s, free_s) if waiting else end_s
        if stall[0] <= next_step_s < stall[1]:
            next_step_s = stall[1]
        now_s = max(now_s, min(next_frame_s, next_step_s, clock.next_deadline_s))
        if now_s >= end_s:
            break
        if now_s == next_step_s:
            free_s = now_s + step_s
            call.stepped_at_s.append(free_s)
            call.turnarounds.append((free_s, free_s - waiting.pop(0)))
        elif now_s == next_frame_s:
            drop = clock.on_frame(now_s, len(waiting), *coming[index][1:])
            waiting.append(now_s)
            call.frames_in += 1
            index += 1
            del waiting[:drop]
            call.dropped_at_s += [now_s] * drop
        else:
            fill = clock.due(now_s, len(waiting))
            waiting += [now_s] * fill
            call.filled_at_s += [now_s] * fill
        call.waiting_frames_max = max(call.waiting_frames_max, len(waiting))
        # Nothing is dropped that does not wait.
        assert call.frames_in + call.frames_filled - call.frames_dropped == call.frames_stepped + len(waiting)
    return call


def steady(from_s: float, to_s: float, ppm: float = 0.0) -> list[float]:
    """Ends of the frames of a caller in real time, whose clock runs fast by `ppm`."""
    period_s = FRAME_S / (1 + ppm * 1e-6)
    return [from_s + (index + 1) * period_s for index in range(int((to_s - from_s) / period_s))]


def held_back(arrivals: list[float], from_s: float, to_s: float) -> list[float]:
    """The line delivers nothing for a while, then everything."""
    return [to_s if from_s <= arrival < to_s else arrival for arrival in arrivals]


def burst(clock: CallerClock, now_s: float, frames: int, waiting_frames: int = 0) -> tuple[list[int], int]:
    """Frames arrive all at once: how many are dropped for each of them, and how many wait then."""
    dropped = []
    for _ in range(frames):
        dropped.append(clock.on_frame(now_s, waiting_frames))
        waiting_frames += 1 - dropped[-1]
    return dropped, waiting_frames


def test_a_caller_in_time_is_left_alone():
    call = simulate(steady(0, 10), end_s=10.1)
    assert (call.frames_in, call.frames_filled, call.frames_dropped, call.frames_stepped) == (125, 0, 0, 125)
    assert call.waiting_frames_max == 1
    assert max(waited for _, waited in call.turnarounds) == pytest.approx(STEP_S)


def test_a_caller_who_never_speaks_is_filled_on_an_absolute_schedule():
    call = simulate([], end_s=60, clock=CallerClock(start_s=0.0, jitter_allowance_s=0.06))
    assert call.filled_at_s == pytest.approx([(index + 1) * FRAME_S + 0.06 for index in range(len(call.filled_at_s))])
    assert len(call.filled_at_s) == 749


def test_late_wake_ups_do_not_move_the_schedule():
    clock = CallerClock(start_s=0.0, jitter_allowance_s=0.1)
    filled = 0
    for index in range(1_000):
        filled += clock.due(index * 0.093, 0)
    assert filled == int((999 * 0.093 - 0.1) / FRAME_S)


def test_a_missed_wake_up_fills_all_that_was_missed_up_to_the_backlog_limit():
    clock = CallerClock(start_s=0.0, jitter_allowance_s=0.1, backlog_limit_frames=5)
    assert clock.due(0.50, 0) == 5
    assert clock.due(5.00, 5) == 0
    assert clock.next_deadline_s > 5.0


@pytest.mark.parametrize("allowance_s", [0.02, 0.06, 0.1, 0.5])
def test_silence_fills_in_once_the_caller_is_later_than_the_allowance(allowance_s):
    clock = CallerClock(start_s=0.0, jitter_allowance_s=allowance_s)
    for now_s in steady(0, 0.8):
        clock.on_frame(now_s, 0)
    assert clock.next_deadline_s == pytest.approx(0.88 + allowance_s)
    assert clock.due(0.88 + allowance_s - 1e-6, 0) == 0
    assert clock.due(0.88 + allowance_s + 1e-6, 0) == 1


@pytest.mark.parametrize("gap_frames", [3, 10, 100, 1_000])
def test_a_caller_who_was_silent_resumes_in_real_time_and_loses_nothing(gap_frames):
    resumed_s = 2 + gap_frames * FRAME_S
    call = simulate(steady(0, 2) + steady(resumed_s, resumed_s + 10), end_s=resumed_s + 10.1)
    assert call.frames_dropped == 0
    assert call.frames_filled == pytest.approx(gap_frames, abs=1)
    assert call.playback_max_s(resumed_s, resumed_s + 10) < 3 * FRAME_S


@settings(max_examples=60, deadline=None)
@given(gaps=st.lists(st.tuples(st.floats(0.1, 3), st.floats(0.3, 4)), min_size=1, max_size=8))
def test_talk_spurts_at_any_phase_keep_the_answers_in_real_time(gaps):
    arrivals, now_s = [], 0.0
    for silent_s, spoken_s in gaps:
        arrivals += steady(now_s + silent_s, now_s + silent_s + spoken_s)
        now_s += silent_s + spoken_s
    call = simulate(arrivals, end_s=now_s)
    answered_s = len(call.stepped_at_s) * FRAME_S
    assert answered_s == pytest.approx(now_s, abs=4 * FRAME_S)
    assert call.frames_dropped == 0


@pytest.mark.parametrize("first_s", [0.03, 0.08, 0.17])
def test_the_first_frame_sets_the_schedule(first_s):
    clock = CallerClock(start_s=0.0)
    clock.on_frame(first_s, 0)
    assert clock.next_deadline_s == pytest.approx(first_s + FRAME_S + 0.1)


def test_jitter_within_the_allowance_fills_and_drops_nothing():
    late_s = [0.0, 0.03, 0.09, 0.01, 0.0, 0.06]
    arrivals = [arrival + late_s[index % 6] for index, arrival in enumerate(steady(0, 30))]
    call = simulate(arrivals, end_s=30.2)
    assert call.frames_filled == call.frames_dropped == 0


def test_a_line_that_delivers_in_bursts_of_200_ms_is_absorbed():
    arrivals = [-(-arrival // 0.2) * 0.2 for arrival in steady(0, 30)]
    call = simulate(arrivals, end_s=30.1, clock=CallerClock(start_s=0.12))
    assert call.frames_filled == call.frames_dropped == 0


def test_quiet_frames_in_bursts_of_200_ms_are_kept_though_silence_was_filled_in_before():
    arrivals = [(-(-arrival // 0.2) * 0.2, True) for arrival in steady(4, 30)]
    call = simulate(arrivals, end_s=30.1)
    assert call.frames_filled >= 49
    assert call.frames_dropped == 0


def test_a_late_burst_within_the_backlog_limit_is_heard_whole_and_made_up_for_within_a_second():
    call = simulate(held_back(steady(0, 6), 2.0, 2.5), end_s=6)
    assert call.frames_filled == 5
    assert not [dropped_s for dropped_s in call.dropped_at_s if dropped_s < 2.5 + 0.3]
    assert len(call.dropped_at_s) == call.frames_filled
    assert max(call.dropped_at_s) < 3.5
    assert call.playback_max_s(2.5, 2.7) > 4 * FRAME_S
    assert call.playback_max_s(3.5, 6) < FRAME_S + 0.101


def test_once_made_up_for_the_next_silence_is_noticed_as_soon_as_ever():
    clock = CallerClock(start_s=0.0)
    arrivals = held_back(steady(0, 4), 2.0, 2.5)
    simulate(arrivals, end_s=4.05, clock=clock)
    assert clock.next_deadline_s - arrivals[-1] == pytest.approx(FRAME_S + 0.1, abs=0.06)


@pytest.mark.parametrize("quiet", [False, True])
def test_a_line_that_bursts_loses_no_more_than_was_filled_in(quiet):
    arrivals = held_back([-(-arrival // 0.2) * 0.2 for arrival in steady(0, 12)], 4.0, 4.6)
    call = simulate([(arrival, quiet) for arrival in arrivals], end_s=12, clock=CallerClock(start_s=0.12))
    assert 3 <= call.frames_filled <= 7
    assert call.frames_dropped <= call.frames_filled
    assert max(call.filled_at_s) < 4.6
    assert call.frames_stepped == pytest.approx(11.88 / FRAME_S, abs=2)


@pytest.mark.parametrize("quiet", [False, True])
def test_a_line_that_bursts_is_not_made_late_by_too_many_drops(quiet):
    """The pause before leaves plenty of silence that drops could be taken for."""
    arrivals = held_back([-(-arrival // 0.2) * 0.2 for arrival in steady(4, 16)], 8.0, 8.2)
    call = simulate([(arrival, quiet) for arrival in arrivals], end_s=16)
    filled_by_stall = len([filled_s for filled_s in call.filled_at_s if filled_s > 5])
    assert 1 <= filled_by_stall <= 3
    assert call.frames_dropped <= filled_by_stall
    assert max(call.filled_at_s) < 8.2


@pytest.mark.parametrize("packet_s", [0.5, 1.0])
def test_packets_of_up_to_a_second_are_heard_whole_where_the_backlog_holds_them(packet_s):
    arrivals = [-(-arrival // packet_s) * packet_s for arrival in steady(0, 60)]
    clock = CallerClock(start_s=packet_s - 0.08, backlog_limit_frames=13)
    call = simulate(arrivals, end_s=60.01, clock=clock)
    assert call.frames_filled == call.frames_dropped == 0


def sliced(slice_s: float, to_s: float, from_s: float = 0.0) -> list[Arrival]:
    """Frames of a caller in real time who sends a slice at a time."""
    numbers = range(int((to_s - from_s) / FRAME_S + 1e-6))
    slices = [-(-round((number + 1) * FRAME_S * 1e6) // round(slice_s * 1e6)) for number in numbers]
    return [(from_s + slices[number] * slice_s, False, number - slices.index(slices[number])) for number in numbers]


@pytest.mark.parametrize("slice_s", [0.02, 0.04, 0.1, 0.2, 0.333, 0.5, 0.8, 1.0])
@pytest.mark.parametrize("step_s", [0.02, 0.07])
def test_slices_of_up_to_a_second_are_heard_whole_by_a_caller_who_cannot_ask_for_patience(slice_s, step_s):
    clock = CallerClock(0.0, backlog_limit_frames=8, first_frame_allowance_s=1.5)
    call = simulate(sliced(slice_s, 60), 60.01, clock, step_s=step_s)
    assert call.frames_in in (749, 750)
    assert call.frames_filled == call.frames_dropped == 0


@settings(max_examples=60, deadline=None)
@given(slice_s=st.floats(0.16, 1.0), start_s=st.floats(0, 0.4), seed=st.integers(0, 100))
def test_slices_that_a_line_delays_by_up_to_50_ms_are_heard_whole(slice_s, start_s, seed):
    late_s = random.Random(seed)
    slices = sliced(slice_s, 30, start_s)
    sent_s = {end_s: end_s + late_s.uniform(0, 0.05) for end_s, *_ in slices}
    clock = CallerClock(0.0, backlog_limit_frames=8, first_frame_allowance_s=1.5)
    call = simulate([(sent_s[end_s], quiet, together) for end_s, quiet, together in slices], 30, clock)
    assert call.frames_filled == call.frames_dropped == 0


@pytest.mark.parametrize("slice_s", [0.5, 1.0])
def test_slices_after_a_long_silence_are_heard_whole(slice_s):
    call = simulate(sliced(slice_s, 20, from_s=5.0), 20.01, CallerClock(0.0, backlog_limit_frames=8))
    assert call.frames_filled == pytest.approx((5 + slice_s - 0.1) / FRAME_S, abs=1.5)
    assert call.frames_dropped == 0


def test_slices_that_a_stall_held_back_are_heard_as_far_as_they_can_be_and_the_rest_is_in_time():
    """Two of them come at once with a third, after as much silence."""
    arrivals = [(13.0 if 10.5 < now_s < 13 else now_s, quiet, number) for now_s, quiet, number in sliced(1.0, 30)]
    clock = CallerClock(0.0, backlog_limit_frames=8, first_frame_allowance_s=1.5)
    call = simulate(arrivals, 30, clock)
    assert call.frames_filled == pytest.approx(23, abs=1)
    assert call.frames_dropped == pytest.approx(call.frames_filled, abs=1)
    assert max(call.dropped_at_s) < 15.1
    assert call.playback_max_s(16, 30) < 1.0 + 2 * FRAME_S + 0.1


def test_before_the_first_frame_patience_is_longer_and_not_afterwards():
    clock = CallerClock(0.0, jitter_allowance_s=0.1, first_frame_allowance_s=1.5)
    assert clock.due(1.57, 0) == 0
    assert clock.due(1.59, 0) == 1
    clock.on_frame(1.6, 1)
    assert clock.next_deadline_s == pytest.approx(1.6 + FRAME_S + 0.1)


def test_jitter_after_a_pause_drops_nothing_though_silence_was_filled_in():
    late_s = random.Random(0)
    call = simulate([arrival + late_s.uniform(0, 0.06) for arrival in steady(4, 64)], end_s=64)
    assert call.frames_filled >= 49
    assert call.frames_dropped == 0


def test_what_was_made_up_for_is_not_owed_any_more():
    arrivals = held_back(steady(0, 4), 2.0, 2.5) + [4 + index * 0.05 for index in range(60)]
    call = simulate(arrivals, end_s=7)
    assert call.frames_dropped == call.frames_filled == 5


def test_a_gateway_that_was_held_up_itself_loses_what_it_missed_once():
    """It wakes two seconds late, looks at the clock first and only then reads what the caller sent meanwhile."""
    clock = CallerClock(start_s=0.0)
    arrivals = steady(0, 10)
    for now_s in arrivals[:25]:
        clock.on_frame(now_s, 0)
    assert clock.due(4.0, 0) == 6
    dropped, waiting_frames = burst(clock, 4.0, 25, waiting_frames=6)
    assert (sum(dropped), waiting_frames) == (25, 6)
    assert sum(clock.on_frame(now_s, 0) for now_s in arrivals[50:]) <= 1


def test_quiet_frames_are_the_first_to_go():
    arrivals = [(arrival, 2.6 < arrival < 2.85) for arrival in held_back(steady(0, 6), 2.0, 2.3)]
    call = simulate(arrivals, end_s=6)
    assert call.frames_filled == 3
    assert len(call.dropped_at_s) == 3
    assert all(2.6 < dropped_s < 2.85 for dropped_s in call.dropped_at_s)


def test_quiet_frames_of_a_caller_in_time_are_kept():
    call = simulate([(arrival, True) for arrival in steady(0, 5)], end_s=5.1)
    assert call.frames_dropped == 0


def test_a_late_burst_beyond_the_backlog_limit_loses_its_oldest_frames_at_once():
    clock = CallerClock(start_s=0.0, backlog_limit_frames=4)
    for now_s in steady(0, 2.0):
        clock.on_frame(now_s, 0)
    assert sum(clock.due(2.0 + index * 0.01, 0) for index in range(301)) == 36
    dropped, waiting_frames = burst(clock, 5.0, 37)
    assert dropped[:4] == [0] * 4
    assert waiting_frames == 4
    assert sum(dropped) == 33


def test_a_caller_who_only_swings_loses_nothing():
    """Late by 150 ms, on time again for a moment, late again: the fill of the first time is used up by the second."""
    arrivals = [arrival + (0.15 if 2 <= arrival % 10 < 4 or 4.2 <= arrival % 10 < 6 else 0) for arrival in steady(0, 8)]
    call = simulate(arrivals, end_s=6)
    assert call.frames_filled >= 1
    assert call.frames_dropped == 0


@settings(max_examples=80, deadline=None)
@given(
    stall_s=st.floats(0.1, 8),
    begin_s=st.floats(2, 2.2),
    limit=st.integers(1, 12),
    allowance_s=st.floats(0.06, 0.1),
)
def test_after_any_stall_of_the_line_the_answers_are_in_time_within_a_second(stall_s, begin_s, limit, allowance_s):
    end_s = begin_s + stall_s
    clock = CallerClock(0.0, jitter_allowance_s=allowance_s, backlog_limit_frames=limit)
    call = simulate(held_back(steady(0, end_s + 5), begin_s, end_s), end_s=end_s + 5, clock=clock)
    # What was filled in came later than a frame in time by the allowance: that much the caller's player holds.
    assert call.playback_max_s(end_s + 1, end_s + 5) <= FRAME_S + allowance_s + 0.75 * FRAME_S
    assert max(waited for at_s, waited in call.turnarounds if at_s > end_s + 1) <= 2 * STEP_S
    assert not [dropped_s for dropped_s in call.dropped_at_s if dropped_s > end_s + 1]


@settings(max_examples=60, deadline=None)
@given(stall_s=st.floats(0.1, 8), begin_s=st.floats(2, 2.2), limit=st.integers(1, 12))
def test_after_any_stall_of_a_worker_turnaround_is_normal_within_a_second(stall_s, begin_s, limit):
    end_s = begin_s + stall_s
    clock = CallerClock(0.0, backlog_limit_frames=limit)
    call = simulate(steady(0, end_s + 5), end_s=end_s + 5, clock=clock, stall=(begin_s, end_s))
    assert call.frames_filled == 0
    assert call.frames_dropped == max(0, call.frames_in - call.frames_stepped)
    assert call.waiting_frames_max <= limit + 1
    assert max(waited for at_s, waited in call.turnarounds if at_s > end_s + 1) <= 2 * STEP_S


def test_a_worker_that_stalls_while_the_caller_is_silent_costs_nothing_afterwards():
    call = simulate(steady(0, 2) + steady(8, 12), end_s=12, stall=(3.0, 5.0))
    assert call.frames_dropped == 0
    assert call.waiting_frames_max <= 6
    assert max(waited for at_s, waited in call.turnarounds if at_s > 6) <= 2 * STEP_S


@pytest.mark.parametrize("ppm", [-100, 100])
@pytest.mark.parametrize("jitter_s", [0.0, 0.03])
def test_an_hour_with_a_clock_100_ppm_off_neither_fills_nor_drops(ppm, jitter_s):
    arrivals = [arrival + jitter_s * (index * 7 % 11) / 10 for index, arrival in enumerate(steady(0, 3_600, ppm))]
    call = simulate(arrivals, end_s=3_600)
    assert call.frames_filled == call.frames_dropped == 0
    assert call.waiting_frames_max == 1


@pytest.mark.parametrize("ppm", [-100, 100])
def test_a_stall_at_the_end_of_that_hour_is_noticed_as_soon_as_at_its_beginning(ppm):
    clock = CallerClock(start_s=0.0)
    arrivals = steady(0, 3_600, ppm)
    for now_s in arrivals:
        clock.on_frame(now_s, 0)
    assert clock.next_deadline_s == pytest.approx(arrivals[-1] + FRAME_S + 0.1, abs=0.001)


@pytest.mark.parametrize("ppm", [-100, 100])
def test_an_hour_of_talk_spurts_with_a_clock_100_ppm_off_keeps_every_word(ppm):
    arrivals = [arrival for index, arrival in enumerate(steady(0, 3_600, ppm)) if index % 100 < 60]
    call = simulate(arrivals, end_s=3_600)
    assert call.frames_dropped <= 5
    assert call.frames_filled == pytest.approx(450 * 40, abs=60)
    assert call.playback_max_s(3_500, 3_600) < 3 * FRAME_S


def test_a_caller_faster_than_real_time_is_answered_as_fast_and_filled_soon_after_they_stop():
    arrivals = [index * 0.04 for index in range(250)]
    call = simulate(arrivals, end_s=20)
    assert call.frames_dropped == 0
    assert 10.0 < call.filled_at_s[0] < 10.0 + 7.5 * FRAME_S + 0.1


@settings(max_examples=100, deadline=None)
@given(
    arrivals=st.lists(st.floats(0, 6), max_size=120),
    limit=st.integers(1, 10),
    allowance_s=st.floats(0.02, 2),
    stall_from_s=st.floats(0, 5),
)
def test_counts_agree_whatever_happens(arrivals, limit, allowance_s, stall_from_s):
    """The simulation itself checks the sum after every event."""
    clock = CallerClock(0.0, jitter_allowance_s=allowance_s, backlog_limit_frames=limit)
    call = simulate(arrivals, end_s=8, clock=clock, stall=(stall_from_s, stall_from_s + 1))
    assert call.waiting_frames_max <= limit + 1
    assert call.frames_in == len(arrivals)


@pytest.mark.parametrize(("allowance_s", "limit", "name"), [(0, 6, "jitter_allowance_s"), (0.1, 0, "backlog_limit")])
def test_settings_without_sense_are_refused(allowance_s, limit, name):
    with pytest.raises(ValueError, match=name):
        CallerClock(0.0, jitter_allowance_s=allowance_s, backlog_limit_frames=limit)


def test_time_may_begin_anywhere():
    assert CallerClock(start_s=1e6).due(1e6 + 0.45, 0) == CallerClock(start_s=0.0).due(0.45, 0) == 4

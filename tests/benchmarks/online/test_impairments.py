"""Lines are as bad as asked for, and the same again with the same seed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.online.impairments import (
    IMPAIRMENTS,
    BurstLoss,
    Bursts,
    ClockSkew,
    Impairment,
    Jitter,
    PacketSchedule,
    RandomLoss,
    SendPlan,
    send_plan,
)

PACKET_S = 0.02
MANY = 200_000


def impaired(*impairments: Impairment, packets: int = MANY, caller: int = 0, seed: int = 1) -> SendPlan:
    return send_plan(packets, PACKET_S, impairments, caller, np.random.default_rng(seed))


def runs_of(flags: np.ndarray) -> np.ndarray:
    """Lengths of the stretches of True."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], flags.astype(int), [0]))))
    return edges[1::2] - edges[::2]


def test_a_perfect_line_never_drifts() -> None:
    plan = impaired()
    assert plan.offsets_s == [index * PACKET_S for index in range(MANY)]
    assert plan.packets == list(range(MANY))


def test_random_loss_loses_its_share_in_short_stretches() -> None:
    schedule = PacketSchedule.perfect(MANY, PACKET_S)
    RandomLoss(0.01).apply(schedule, 0, np.random.default_rng(1))
    assert schedule.lost.mean() == pytest.approx(0.01, rel=0.1)
    assert runs_of(schedule.lost).mean() == pytest.approx(1 / 0.99, rel=0.02)


def test_burst_loss_loses_its_share_in_stretches_of_the_mean_length() -> None:
    schedule = PacketSchedule.perfect(MANY, PACKET_S)
    BurstLoss(0.03, 5).apply(schedule, 0, np.random.default_rng(1))
    assert schedule.lost.mean() == pytest.approx(0.03, rel=0.1)
    assert runs_of(schedule.lost).mean() == pytest.approx(5, rel=0.1)


def test_jitter_has_its_deviation_and_its_bound() -> None:
    schedule = PacketSchedule.perfect(MANY, PACKET_S)
    Jitter(0.03).apply(schedule, 0, np.random.default_rng(1))
    assert np.sqrt((schedule.delay_s**2).mean()) == pytest.approx(0.03, rel=0.02)
    assert schedule.delay_s.min() >= 0 and schedule.delay_s.max() <= 0.09


def test_bursts_hold_ten_packets_and_let_them_go_at_once() -> None:
    schedule = PacketSchedule.perfect(MANY, PACKET_S)
    Bursts(0.2, 5.0).apply(schedule, 0, np.random.default_rng(1))
    held = runs_of(schedule.delay_s > 0)
    assert held.min() >= 10 and np.median(held) == 10
    assert held.size == pytest.approx(MANY * PACKET_S / 5.2, rel=0.1)
    times = schedule.due_s + schedule.delay_s
    assert (np.diff(times) < -1e-9).sum() == 0


def test_a_slow_and_a_fast_clock_are_off_by_their_parts_per_million() -> None:
    hour = 180_000
    slow, fast = (impaired(ClockSkew(100), packets=hour + 1, caller=caller).offsets_s[-1] for caller in (0, 1))
    assert slow == pytest.approx(3600 + 0.36)
    assert fast == pytest.approx(3600 - 0.36)


@given(
    names=st.lists(st.sampled_from(sorted(IMPAIRMENTS)), unique=True),
    packets=st.integers(0, 2000),
    seed=st.integers(0, 2**32),
)
def test_any_combination_keeps_the_order_and_is_the_same_again(names: list[str], packets: int, seed: int) -> None:
    impairments = [IMPAIRMENTS[name][0] for name in names]
    plan = impaired(*impairments, packets=packets, seed=seed)
    assert plan == impaired(*impairments, packets=packets, seed=seed)
    assert len(plan.packets) == len(plan.offsets_s) <= packets
    assert all(np.diff(plan.packets) > 0) and all(np.diff(plan.offsets_s) >= 0)


def test_another_seed_gives_another_line() -> None:
    assert impaired(RandomLoss(0.01), seed=1) != impaired(RandomLoss(0.01), seed=2)

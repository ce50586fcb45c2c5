"""Each scenario plans the calls that its name promises."""

from __future__ import annotations

import pytest

from benchmarks.online.scenarios import SCENARIOS, PlannedCall, Size

SIZE = Size(callers=8, seconds=60.0, seed=1, step_s=5.0)


def planned(name: str, size: Size = SIZE) -> list[PlannedCall]:
    return list(SCENARIOS[name].plan(size))


def end_s(call: PlannedCall) -> float:
    return call.start_s + 0.08 * call.frames


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_same_size_gives_the_same_calls(name: str) -> None:
    assert planned(name) == planned(name)
    assert {call.caller for call in planned(name)} == set(range(8))


@pytest.mark.parametrize("name", ["steady", "over-capacity"])
def test_steady_callers_all_talk_for_the_whole_run(name: str) -> None:
    calls = planned(name)
    assert all(call.frames == 750 and 0 <= call.start_s <= 1 for call in calls)
    assert len({call.start_s % 0.08 for call in calls}) == 8, "they must be out of step"


def test_a_ramp_adds_one_caller_each_step_and_all_end_together() -> None:
    calls = planned("ramp")
    assert [call.start_s // 5 for call in calls] == list(range(8))
    assert all(end_s(call) == pytest.approx(40, abs=0.081) for call in calls)


def test_soaking_callers_never_hold_two_calls_and_come_back() -> None:
    calls = planned("soak", Size(callers=4, seconds=600.0, seed=1, step_s=5.0))
    for caller in range(4):
        own = [call for call in calls if call.caller == caller]
        assert len(own) > 5
        assert all(end_s(before) < after.start_s for before, after in zip(own, own[1:], strict=False))
    assert max(map(end_s, calls)) <= 600.1


def test_another_seed_gives_another_soak() -> None:
    assert planned("soak") != planned("soak", Size(8, 60.0, 2, 5.0))


def test_half_of_the_callers_join_at_once_in_the_middle() -> None:
    calls = planned("burst-join")
    joining = [call for call in calls if call.joins_in_burst]
    assert len(joining) == 4
    assert {call.start_s for call in joining} == {30.0}


def test_over_capacity_has_fewer_slots_than_callers() -> None:
    assert SCENARIOS["over-capacity"].slots_per_caller < 1

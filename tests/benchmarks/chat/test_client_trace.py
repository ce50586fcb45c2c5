"""What counts as a fault of a client's trace, and what does not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.chat.client_trace import ClientTrace, faults
from benchmarks.chat.report import as_json, summary, table


def page(name: str, asked_s: float, ready_s: float | None, *positions: tuple[int, int]) -> ClientTrace:
    return ClientTrace(name, 10, 10, list(positions), asked_s, asked_s if positions else None, ready_s)


PHONE = ClientTrace("phone", 10, 10, ready_s=0.1, counters={"frames_in": 10, "frames_out": 10}, final=True)
SERVED = page("served", 1.0, 1.1)
FIRST = page("first", 2.0, 5.0, (1, 1), (1, 2), (0, 1))
SECOND = page("second", 3.0, 6.0, (2, 2), (1, 1), (0, 0))
GOOD = [PHONE, SERVED, FIRST, SECOND]


def test_a_mix_that_gets_what_is_due_has_no_faults() -> None:
    assert faults(GOOD) == []
    assert summary(GOOD, []) == "4 of 4 served, 2 of them after waiting in the queue; every frame accounted for"
    assert [line.split()[0] for line in table(GOOD).splitlines()] == ["client", "phone", "served", "first", "second"]
    assert [client["name"] for client in as_json(GOOD, [])["clients"]] == ["phone", "served", "first", "second"]


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        (replace(PHONE, failure="RESOURCE_EXHAUSTED"), "phone: RESOURCE_EXHAUSTED"),
        (replace(SERVED, ready_s=None), "served: its turn never came"),
        (replace(SERVED, heard_frames=4.5), "served: said 10 frames, heard 4.5"),
        (replace(PHONE, heard_frames=9), "phone: 10 frames sent, 9 heard"),
        (replace(PHONE, counters={"frames_in": 11, "frames_out": 10}), "phone: 11 frames stepped, 10 answered"),
        (replace(FIRST, queue_positions=[(1, 1), (2, 2), (0, 1)]), "first: went back in the queue: [1, 2, 0]"),
        (replace(SECOND, queue_positions=[(3, 2), (0, 0)]), "second: behind the end of the queue: [(3, 2), (0, 0)]"),
        (replace(SECOND, queue_positions=[(2, 2), (1, 1)]), "second: was never told that its turn had come: [2, 1]"),
        (replace(SECOND, ready_s=4.0), "served as ['second', 'first'], came as ['first', 'second']"),
    ],
)
def test_every_wrong_is_found(changed: ClientTrace, fault: str) -> None:
    mix = [changed if trace.name == changed.name else trace for trace in GOOD]
    assert faults(mix) == [fault]
    assert summary(mix, [fault]).endswith("1 faults")


def test_frames_dropped_filled_and_unsent_are_accounted_for() -> None:
    counters = {"frames_in": 9, "frames_filled": 3, "frames_dropped": 2, "frames_out": 9, "reply_frames_dropped": 1}
    assert faults([replace(PHONE, heard_frames=9, counters=counters)]) == []

"""Tables in a terminal."""

from __future__ import annotations

from benchmarks.columns import columns


def test_names_stand_to_the_left_and_numbers_to_the_right() -> None:
    assert columns([("hop", "p50 ms"), ("edge_in", "1.5"), ("lm", "31.0")]).splitlines() == [
        "hop      p50 ms",
        "edge_in     1.5",
        "lm         31.0",
    ]

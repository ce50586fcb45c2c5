"""The largest of what was added lately, on a simulated clock."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from moshi_cluster.services.common.worker.recent_maximum import RecentMaximum

SPAN_S, SPANS = 10.0, 6
KEPT_S = SPAN_S * SPANS


def test_nothing_was_added_or_all_of_it_long_ago() -> None:
    now_s = [0.0]
    maximum = RecentMaximum(lambda: now_s[0])
    assert maximum.value() == 0.0
    maximum.add(3.0)
    assert maximum.value() == 3.0
    now_s[0] = KEPT_S
    assert maximum.value() == 0.0


@given(steps=st.lists(st.tuples(st.floats(0.0, 30.0), st.floats(0.0, 1.0)), min_size=1, max_size=40))
def test_what_is_younger_than_the_spans_less_one_counts_and_what_is_older_than_all_does_not(
    steps: list[tuple[float, float]],
) -> None:
    now_s = 1000.0
    maximum = RecentMaximum(lambda: now_s, SPAN_S, SPANS)
    added: list[tuple[float, float]] = []
    for pause_s, value in steps:
        now_s += pause_s
        maximum.add(value)
        added.append((now_s, value))
        surely = [value for at_s, value in added if now_s - at_s < KEPT_S - SPAN_S]
        at_most = [value for at_s, value in added if now_s - at_s < KEPT_S]
        assert max(surely) <= maximum.value() <= max(at_most)

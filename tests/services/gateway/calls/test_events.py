"""PendingEvents: counted at once, told together."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from moshi_cluster.services.gateway.calls.events import EventKind, PendingEvents


@given(st.lists(st.tuples(st.sampled_from(EventKind), st.integers(0, 9))))
def test_everything_is_counted_at_once_and_told_together_once(happened: list[tuple[EventKind, int]]) -> None:
    counted: list[tuple[EventKind, int]] = []
    news = PendingEvents(lambda kind, frames: counted.append((kind, frames)))
    totals: dict[EventKind, int] = {}
    for kind, frames in happened:
        news.add(kind, frames)
        totals[kind] = totals.get(kind, 0) + frames
        assert counted[-1] == (kind, frames)
    assert news.take() == totals
    assert news.take() == {}

"""Pending events: told together, once, at most once a second."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from moshi_cluster.services.gateway.calls.events import EventKind, PendingEvents

HAPPENED = st.tuples(st.sampled_from(EventKind), st.integers(1, 9))


@given(st.lists(st.one_of(HAPPENED, st.floats(0, 0.7)), max_size=60))
def test_everything_is_told_once_and_at_most_once_a_second(story: list[tuple[EventKind, int] | float]) -> None:
    """A story of what happens, and of seconds that pass before the next look."""
    pending, now_s, told_at_s = PendingEvents(50.0), 50.0, []
    happened, told = dict.fromkeys(EventKind, 0), dict.fromkeys(EventKind, 0)

    def tell(frames: dict[EventKind, int]) -> None:
        for kind, count in frames.items():
            told[kind] += count

    for part in story:
        if isinstance(part, tuple):
            pending.add(*part)
            happened[part[0]] += part[1]
            continue
        now_s += part
        if frames := pending.take(now_s):
            told_at_s.append(now_s)
            tell(frames)
    assert all(later - earlier >= 1.0 for earlier, later in zip(told_at_s, told_at_s[1:], strict=False))
    tell(pending.take(now_s, last=True))
    assert told == happened
    assert pending.take(now_s + 60.0) == {}


def test_what_happens_is_told_at_once_after_a_quiet_second() -> None:
    pending = PendingEvents(50.0)
    pending.add(EventKind.FILLED, 2)
    assert pending.take(50.0) == {EventKind.FILLED: 2}
    pending.add(EventKind.FILLED, 1)
    pending.add(EventKind.DROPPED, 3)
    assert pending.take(50.999) == {}
    assert pending.take(51.0) == {EventKind.FILLED: 1, EventKind.DROPPED: 3}
    assert pending.take(60.0) == {}
    pending.add(EventKind.DROPPED, 1)
    assert pending.take(60.0) == {EventKind.DROPPED: 1}

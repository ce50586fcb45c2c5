"""The token history: what goes in comes out as the lm service takes it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from moshi_cluster.services.gateway.calls.history import History

TOKEN = st.integers(0, 65_535)


@given(data=st.data(), moshi=st.integers(1, 16), user=st.integers(0, 16), frames=st.integers(0, 20))
def test_every_frame_comes_back_as_it_was_delivered(data: st.DataObject, moshi: int, user: int, frames: int) -> None:
    row = st.tuples(
        TOKEN, st.lists(TOKEN, min_size=moshi, max_size=moshi), st.lists(TOKEN, min_size=user, max_size=user)
    )
    rows = data.draw(st.lists(row, min_size=frames, max_size=frames))
    history = History()
    for text_token, moshi_codes, user_codes in rows:
        history.append(text_token, moshi_codes, user_codes)
    assert len(history) == frames
    earlier, messages = history.last()
    assert earlier == 0
    assert [(m.text_token, list(m.moshi_codes), list(m.user_codes)) for m in messages] == rows
    for last in (0, 1, frames, frames + 1):
        assert history.last(last) == (max(0, frames - last), messages[-last:] if last else [])


def test_a_new_history_is_empty() -> None:
    assert len(History()) == 0
    assert History().last() == (0, [])

"""Sessions come back from files as they were."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.training.world.fake_voices import fake_voices  # noqa: F401
from training.world import store
from training.world.session import generate


@pytest.mark.usefixtures("fake_voices")
def test_a_session_comes_back_as_it_was(tmp_path: Path) -> None:
    session = generate(1, "train")
    store.save(session, store.path_of(tmp_path, 7))
    loaded = store.load(store.path_of(tmp_path, 7))
    for name in ("user", "moshi", "user_phones", "moshi_phones"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(session, name))
        assert getattr(loaded, name).dtype == getattr(session, name).dtype
    assert (loaded.words, loaded.turns, loaded.voice) == (session.words, session.turns, session.voice)


@pytest.mark.usefixtures("fake_voices")
def test_a_folder_lists_whole_sessions_in_order(tmp_path: Path) -> None:
    session = generate(1, "train")
    for number in (11, 2):
        store.save(session, store.path_of(tmp_path, number))
    (tmp_path / "session-000003.1.partial").write_bytes(b"half")
    assert store.stored(tmp_path) == [store.path_of(tmp_path, 2), store.path_of(tmp_path, 11)]

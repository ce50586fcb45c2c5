"""Callers made up for an evaluation."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.training.world.fake_voices import fake_voices  # noqa: F401
from training.evaluate import recordings
from training.evaluate.recordings import NoSynthesiserError, made


def test_calls_are_made_up_once_and_then_read(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fake_voices: None,  # noqa: F811
) -> None:
    monkeypatch.setattr(recordings, "_MADE", tmp_path)
    monkeypatch.setattr(recordings, "_LIBRARIES", {})
    first = made(5)
    assert sum(recording.exchanges for recording in first) >= 5
    monkeypatch.setattr(recordings, "generate", lambda number, split: pytest.fail("made up again"))
    assert made(5) == first


def test_what_is_missing_to_make_up_calls_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recordings, "_MADE", tmp_path)
    monkeypatch.setattr(recordings, "_LIBRARIES", {"a-voice": "no-such-library"})
    with pytest.raises(NoSynthesiserError, match="needs a-voice .*--recorded"):
        made(5)

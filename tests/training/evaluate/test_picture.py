"""A call as a picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from moshi_cluster.cluster.recorded_callers import read
from training.evaluate.judge import HeldCall
from training.evaluate.picture import draw, envelope, words


def call(**pieces: str) -> HeldCall:
    """pieces: by frame."""
    said = [pieces.get(f"at_{frame}", "") for frame in range(125)]
    sound = np.sin(np.arange(125 * 1920, dtype=np.float32) / 20)
    return HeldCall([], said, sound, delay_s=0.1)


def test_pieces_make_words_that_begin_when_they_are_heard() -> None:
    found = words(call(at_0="hi", at_25=" wed", at_26="nesday", at_50=" two"))
    assert [word.text for word in found] == ["hi", "wednesday", "two"]
    assert [word.start_s for word in found] == pytest.approx([0.1, 2.1, 4.1])


def test_the_envelope_holds_every_column_s_extremes() -> None:
    sound = np.zeros(2400, np.float32)
    sound[250] = 0.5
    sound[2399] = -1
    low, high = envelope(sound, 24_000)
    assert len(low) == len(high) == 12
    assert (high[1], low[11]) == (0.5, -1)


def test_both_voices_and_both_texts_are_in_a_small_picture(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: pip install '.[bench]'")
    recording, path = read()[0], tmp_path / "call.svg"
    draw(path, recording, call(at_15=" hello", at_60=" four"), 0.0, 11.0)
    content = path.read_text(encoding="utf-8")
    assert all(f"<!-- {text} -->" in content for text in ("hello", "four", recording.turns[0]["user_text"]))
    assert len(content) < 300_000

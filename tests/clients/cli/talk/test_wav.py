"""Recordings that are written while a conversation runs."""

from __future__ import annotations

import wave
from array import array
from pathlib import Path

import pytest

from moshi_cluster.clients.cli.recording import read_wav
from moshi_cluster.clients.cli.talk.wav import WavWriter, columns
from moshi_cluster.clients.telephony.errors import BadInput


def test_a_file_is_whole_after_every_write(tmp_path: Path) -> None:
    path = tmp_path / "voice.wav"
    with WavWriter(path) as writer:
        assert not read_wav(path).samples
        for count in (1, 2):
            writer.write(array("h", [7, -7]))
            assert list(read_wav(path).samples) == [7, -7] * count
    assert read_wav(path).rate_hz == 24_000


def test_two_voices_lie_side_by_side(tmp_path: Path) -> None:
    path = tmp_path / "both.wav"
    with WavWriter(path, channels=2) as writer:
        writer.write(columns(array("h", [1, 2, 3]), array("h", [-1, -2, -3])))
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getnframes()) == (2, 3)
        assert list(array("h", file.readframes(3))) == [1, -1, 2, -2, 3, -3]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"nowhere/voice.wav: cannot be written"):
        WavWriter(tmp_path / "nowhere" / "voice.wav")

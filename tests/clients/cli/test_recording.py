"""WAV files of one voice."""

from __future__ import annotations

import wave
from array import array
from pathlib import Path

import pytest

from moshi_cluster.clients.cli.errors import BadInput
from moshi_cluster.clients.cli.recording import DEMO_UTTERANCE, Recording, read_wav, write_wav


def test_a_recording_survives_a_file(tmp_path: Path) -> None:
    recording = Recording(array("h", [1, -2, 3]), 8000)
    write_wav(tmp_path / "a.wav", recording)
    assert read_wav(tmp_path / "a.wav") == recording


def test_the_demo_utterance_is_a_few_seconds_of_speech() -> None:
    recording = read_wav(DEMO_UTTERANCE)
    assert recording.rate_hz == 24000
    assert 4 < recording.seconds < 8
    assert max(recording.samples) > 10000
    assert DEMO_UTTERANCE.stat().st_size < 300_000


def test_stereo_is_refused_by_name(tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "stereo.wav"), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(8))
    with pytest.raises(BadInput, match=r"stereo\.wav: expected mono 16-bit samples, found 2 channels"):
        read_wav(tmp_path / "stereo.wav")


def test_what_is_no_recording_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("hello")
    for name in ("text.wav", "absent.wav"):
        with pytest.raises(BadInput, match=name):
            read_wav(tmp_path / name)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"folder\.wav: cannot be written"):
        write_wav(tmp_path / "no" / "folder.wav", Recording(array("h"), 8000))

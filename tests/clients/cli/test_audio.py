"""Recordings on disk, and samples as they travel."""

from __future__ import annotations

import struct
import wave
from array import array
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moshi_cluster.clients.cli.__main__ import DEMO_UTTERANCE
from moshi_cluster.clients.cli.audio import ENCODINGS, AudioError, Recording, from_wire, read_wav, to_wire, write_wav

SAMPLES = st.lists(st.integers(-32768, 32767), max_size=50).map(lambda values: array("h", values))


@given(SAMPLES)
def test_linear_samples_survive_the_wire(samples: array[int]) -> None:
    for name in ("s16le", "f32le"):
        assert from_wire(to_wire(samples, name), name) == samples


@given(SAMPLES)
def test_companded_samples_survive_a_second_passage_unchanged(samples: array[int]) -> None:
    for name in ("mulaw", "alaw"):
        once = from_wire(to_wire(samples, name), name)
        assert from_wire(to_wire(once, name), name) == once


def test_the_wire_is_little_endian() -> None:
    assert to_wire(array("h", [256]), "s16le") == b"\x00\x01"
    assert to_wire(array("h", [16384]), "f32le") == struct.pack("<f", 0.5)


def test_floats_beyond_full_scale_are_clipped() -> None:
    assert list(from_wire(struct.pack("<3f", 2.0, -2.0, 1.0), "f32le")) == [32767, -32768, 32767]


def test_every_encoding_of_the_client_is_handled() -> None:
    for name in ENCODINGS:
        assert list(from_wire(to_wire(array("h", [0]), name), name)) in ([0], [8])  # A-law has no zero


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
    with pytest.raises(AudioError, match=r"stereo\.wav: expected mono 16-bit samples, found 2 channels"):
        read_wav(tmp_path / "stereo.wav")


def test_what_is_no_recording_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("hello")
    for name in ("text.wav", "absent.wav"):
        with pytest.raises(AudioError, match=name):
            read_wav(tmp_path / name)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"folder\.wav: cannot be written"):
        write_wav(tmp_path / "no" / "folder.wav", Recording(array("h"), 8000))

"""Samples as they travel."""

from __future__ import annotations

import struct
import sys
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moshi_cluster.clients.telephony.errors import BadInput
from moshi_cluster.clients.telephony.wire_formats import ENCODINGS, from_wire, packets, samples_in, to_wire

SAMPLES = st.lists(st.integers(-32768, 32767), max_size=50).map(lambda values: array("h", values))


@given(SAMPLES)
def test_linear_samples_survive_the_wire(samples: array[int]) -> None:
    for name in ("s16le", "s16be", "f32le"):
        assert from_wire(to_wire(samples, name), name) == samples


@given(SAMPLES)
def test_companded_samples_survive_a_second_passage_unchanged(samples: array[int]) -> None:
    for name in ("mulaw", "alaw"):
        once = from_wire(to_wire(samples, name), name)
        assert from_wire(to_wire(once, name), name) == once


def test_the_wire_is_little_endian_unless_its_name_says_otherwise() -> None:
    assert to_wire(array("h", [256]), "s16be") == b"\x01\x00"
    assert to_wire(array("h", [256]), "s16le") == b"\x00\x01"
    assert to_wire(array("h", [16384]), "f32le") == struct.pack("<f", 0.5)


def test_floats_beyond_full_scale_are_clipped() -> None:
    assert list(from_wire(struct.pack("<3f", 2.0, -2.0, 1.0), "f32le")) == [32767, -32768, 32767]


def test_every_encoding_of_the_client_is_handled() -> None:
    for name in set(ENCODINGS) - {"g722"}:
        assert list(from_wire(to_wire(array("h", [0, 0]), name), name)) in ([0, 0], [8, 8])  # A-law has no zero


def test_packets_of_every_encoding_are_the_recording_in_pieces() -> None:
    pytest.importorskip("av", reason="G.722 comes with PyAV")
    samples = array("h", range(0, 8000, 10))
    for name, number in ENCODINGS.items():
        pieces = packets(samples, name, 320)
        assert b"".join(pieces) == to_wire(samples, name)
        assert [samples_in(len(piece), number) for piece in pieces] == [320, 320, 160]


def test_g722_without_pyav_is_refused_with_the_command_that_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "moshi_cluster.audio.g722", None)
    with pytest.raises(BadInput, match=r"^G\.722 needs PyAV: pip install av$"):
        from_wire(b"\0", "g722")


@pytest.mark.parametrize(("encoding", "data"), [("s16le", b"\0"), ("f32le", struct.pack("<f", float("nan")))])
def test_what_is_no_sound_is_refused(encoding: str, data: bytes) -> None:
    with pytest.raises(ValueError, match=r"buffer size|samples must be finite"):
        from_wire(data, encoding)

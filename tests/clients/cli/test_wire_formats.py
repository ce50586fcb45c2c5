"""Samples as they travel."""

from __future__ import annotations

import struct
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moshi_cluster.clients.cli.wire_formats import ENCODINGS, from_wire, to_wire

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


@pytest.mark.parametrize(("encoding", "data"), [("s16le", b"\0"), ("f32le", struct.pack("<f", float("nan")))])
def test_what_is_no_sound_is_refused(encoding: str, data: bytes) -> None:
    with pytest.raises(ValueError, match=r"buffer size|samples must be finite"):
        from_wire(data, encoding)

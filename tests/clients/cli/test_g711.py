"""G.711 as the standard library had it until Python 3.13."""

from __future__ import annotations

import warnings
from array import array

import pytest

from moshi_cluster.clients.cli import g711

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    audioop = pytest.importorskip("audioop")

EVERY_SAMPLE = array("h", range(-32768, 32768))
EVERY_BYTE = bytes(range(256))


def test_every_sample_becomes_the_byte_of_the_reference() -> None:
    assert g711.encode_ulaw(EVERY_SAMPLE) == audioop.lin2ulaw(EVERY_SAMPLE.tobytes(), 2)
    assert g711.encode_alaw(EVERY_SAMPLE) == audioop.lin2alaw(EVERY_SAMPLE.tobytes(), 2)


def test_every_byte_becomes_the_sample_of_the_reference() -> None:
    assert g711.decode_ulaw(EVERY_BYTE).tobytes() == audioop.ulaw2lin(EVERY_BYTE, 2)
    assert g711.decode_alaw(EVERY_BYTE).tobytes() == audioop.alaw2lin(EVERY_BYTE, 2)

"""Checks of what comes from outside; each names the field it refuses."""

from __future__ import annotations

from collections.abc import Sequence

from moshi_cluster.audio import pcm
from moshi_cluster.services.common.errors import InvalidInput


def pcm_f32(data: bytes, samples: int, field: str) -> bytes:
    """`samples` finite float32 values of sane size, returned as they came."""
    if len(data) != 4 * samples:
        raise InvalidInput(field, "must be one frame of 32 bit floats", expected_bytes=4 * samples, got_bytes=len(data))
    try:
        pcm.decode_f32le(data)
    except pcm.MalformedAudio as error:
        raise InvalidInput(field, str(error)) from error
    return data


def codes(values: Sequence[int], codebooks: int, bins: int, field: str) -> list[int]:
    """One code per codebook, each below `bins`."""
    checked = list(values)
    if len(checked) != codebooks:
        raise InvalidInput(field, "must be one code for each codebook", expected=codebooks, got=len(checked))
    if max(checked) >= bins:
        raise InvalidInput(field, "must be codes that the codebooks have", below=bins, got=max(checked))
    return checked


def frame_index(value: int, expected: int, field: str) -> None:
    """Frames come without gaps."""
    if value != expected:
        raise InvalidInput(field, "must count up from the first frame without gaps", expected=expected, got=value)

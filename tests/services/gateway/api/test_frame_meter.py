"""Frames are counted by their headers, however their bytes are cut, and stopped when they are too many."""

from __future__ import annotations

import asyncio

import hypothesis
import pytest
from hypothesis import strategies as st

from benchmarks.abuse.frames import frame
from moshi_cluster.services.common.errors import OverQuota
from moshi_cluster.services.gateway.api.frame_meter import FrameMeter

SIZES = st.sampled_from([0, 1, 125, 126, 300, 70_000])


@hypothesis.given(
    frames=st.lists(st.builds(frame, SIZES.map(bytes), st.integers(0, 15), st.booleans(), st.booleans()), max_size=12),
    cuts=st.lists(st.integers(1, 90_000) | st.integers(1, 20), max_size=40),
)
def test_frames_are_counted_one_by_one_wherever_they_are_cut(frames: list[bytes], cuts: list[int]) -> None:
    """As many as two seconds of messages hold pass, and the next one does not."""
    if not frames:
        return
    meter = FrameMeter(len(frames) / 4)
    stream = b"".join(frames)
    for cut in cuts:
        assert meter.admit(stream[:cut])
        stream = stream[cut:]
    assert meter.admit(stream)
    assert not meter.admit(frame(b"one too many") * 4)
    assert not meter.admit(b"")


@pytest.mark.parametrize("empty", [frame(b"", 9), frame(b"", 10), frame(b"", 0), bytes([0, 0x80, 0, 0, 0, 0])])
async def test_a_flood_of_frames_that_never_become_a_message_is_noticed(empty: bytes) -> None:
    meter = FrameMeter(100.0)
    waiting = asyncio.create_task(meter.until_flooded())
    assert meter.admit(empty * 400)
    await asyncio.sleep(0)
    assert not waiting.done()
    assert not meter.admit(empty * 100)
    with pytest.raises(OverQuota, match="more messages than one call may send"):
        await waiting

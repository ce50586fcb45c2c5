"""Whole clips in one call."""

from __future__ import annotations

import hypothesis
import hypothesis.strategies as st
import pytest
import torch

from moshi_cluster.models.mimi import attention
from tests.models.mimi import tiny

FRAMES_IN_RING = 20
CODEBOOKS = 8


@hypothesis.settings(max_examples=10)
@hypothesis.given(frames=st.integers(1, FRAMES_IN_RING - 1), seed=st.integers(0, 2**31))
def test_a_clip_equals_its_stream_until_the_ring_wraps(frames: int, seed: int) -> None:
    mimi = tiny.mimi(CODEBOOKS)
    generator = torch.Generator().manual_seed(seed)
    pcm = torch.randn(1, frames * tiny.FRAME_SAMPLES, generator=generator) / 8
    encoder, decoder = mimi.encoder(1), mimi.decoder(1)
    latents = torch.stack([encoder.latents([0], frame) for frame in tiny.frames(pcm)], dim=1)
    torch.testing.assert_close(latents, mimi.latents(pcm), atol=2e-5, rtol=0)
    codes = torch.randint(64, (1, CODEBOOKS, frames), generator=generator)
    streamed = torch.cat([decoder.step([0], column) for column in codes.unbind(2)], dim=1)
    torch.testing.assert_close(streamed, mimi.decode(codes), atol=2e-5, rtol=0)


@pytest.mark.parametrize(("samples", "frames"), [(1, 1), (1920, 1), (1921, 2), (5000, 3)])
def test_a_clip_is_padded_with_zeros_to_whole_frames(samples: int, frames: int) -> None:
    pcm = tiny.voice("user_a")[:, :samples]
    whole = torch.zeros(1, frames * tiny.FRAME_SAMPLES)
    whole[:, :samples] = pcm
    codes = tiny.mimi(CODEBOOKS).encode(pcm)
    assert codes.shape == (1, CODEBOOKS, frames)
    assert codes.dtype == torch.int64
    assert torch.equal(codes, tiny.mimi(CODEBOOKS).encode(whole))


def test_clips_side_by_side_give_what_each_gives_alone() -> None:
    mimi = tiny.mimi(CODEBOOKS)
    both = torch.cat((tiny.voice("user_a"), tiny.voice("user_b")))
    codes = mimi.encode(both)
    pcm = mimi.decode(codes)
    for row in range(2):
        assert torch.equal(codes[row : row + 1], mimi.encode(both[row : row + 1]))
        torch.testing.assert_close(pcm[row : row + 1], mimi.decode(codes[row : row + 1]), atol=1e-6, rtol=0)


def test_long_clips_attend_in_blocks_with_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    mimi = tiny.mimi(CODEBOOKS)
    latents = mimi.latents(tiny.voice("user_a"))
    monkeypatch.setattr(attention, "_QUERIES_PER_BLOCK", 7)
    torch.testing.assert_close(mimi.latents(tiny.voice("user_a")), latents, atol=1e-5, rtol=0)


@pytest.mark.parametrize("codebooks", [0, 33])
def test_a_number_of_codebooks_that_is_not_stored_is_refused(codebooks: int) -> None:
    with pytest.raises(ValueError, match="1 to 32"):
        tiny.mimi.__wrapped__(codebooks)


def test_more_codebooks_than_active_are_refused() -> None:
    with pytest.raises(ValueError, match="9 codebooks, this codec has 8"):
        tiny.mimi(CODEBOOKS).decode(torch.zeros(1, 9, 1, dtype=torch.int64))

"""Crops are what a running codec would meet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from moshi_cluster.audio.frame import FRAME_SAMPLES
from tests.training.mimi.small import session, write_sessions
from training.mimi.crops import LABEL_DELAY, CropSource
from training.world.phones import PHONES_PER_FRAME

FRAMES = 12


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_sessions(tmp_path, 3)
    return tmp_path


def frame_at(moshi: np.ndarray, crop: torch.Tensor) -> int | None:
    """The frame of a session at which a crop was cut, None when it is not from there."""
    wanted = np.round(crop.numpy() * 32768).astype(np.int16)
    starts = range(0, len(moshi) - len(wanted) + 1, FRAME_SAMPLES)
    found = [start for start in starts if np.array_equal(moshi[start : start + len(wanted)], wanted)]
    return found[0] // FRAME_SAMPLES if found else None


def test_crops_begin_where_frames_begin_and_labels_lag_behind(folder: Path) -> None:
    crops = CropSource(folder, FRAMES, seed=1).draw(12, moshi_share=1.0)
    assert torch.equal(crops.heard, crops.target)
    sessions = [session(60, number) for number in range(3)]
    spoken = crops.target.any(dim=1)  # silence could be from anywhere
    assert spoken.sum() >= 8
    for crop, phones in zip(crops.target[spoken], crops.phones[spoken], strict=True):
        (place,) = [(one, frame) for one in sessions if (frame := frame_at(one.moshi, crop)) is not None]
        labels = place[1] * PHONES_PER_FRAME + np.arange(FRAMES * PHONES_PER_FRAME) - LABEL_DELAY
        expected = place[0].moshi_phones[labels.clip(min=0)]
        assert phones.flatten().tolist() == expected.tolist()


def test_most_crops_have_something_to_hear(folder: Path) -> None:
    crops = CropSource(folder, FRAMES, seed=2).draw(300, moshi_share=1.0)
    audible = crops.target.unflatten(1, (FRAMES, -1)).square().mean(dim=2).sqrt() > 3e-3
    assert 0.75 < (audible.float().mean(dim=1) >= 0.4).float().mean() < 1


def test_a_caller_is_louder_or_quieter_and_sometimes_in_noise_that_must_not_come_back(folder: Path) -> None:
    crops = CropSource(folder, FRAMES, seed=3).draw(100, moshi_share=0.0)
    levels = crops.target.std(dim=1)
    assert levels.max() > 2 * levels.min()
    noisy = (crops.heard != crops.target).any(dim=1).float().mean()
    assert 0.15 < noisy < 0.45


def test_the_same_seed_draws_the_same(folder: Path) -> None:
    first, second = (CropSource(folder, FRAMES, seed=4).draw(5, 0.5) for _ in range(2))
    assert torch.equal(first.heard, second.heard) and torch.equal(first.phones, second.phones)


def test_a_folder_without_sessions_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no sessions"):
        CropSource(tmp_path, FRAMES, seed=1).draw(1, 0.5)

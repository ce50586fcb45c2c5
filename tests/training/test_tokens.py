"""Tokenising: the codes of a call are those that the running codec would make, words lie beside the sound."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from moshi_cluster.models.loading.published import MIMI_NAME
from moshi_cluster.models.mimi import Mimi
from moshi_cluster.tools.checkpoint_sizes import mimi_config
from moshi_cluster.tools.random_mimi import random_mimi
from training import tokens
from training.text import tokenizer
from training.tokens import encode, load, load_mimi, run, stored, tokenise
from training.world import store
from training.world.phones import NUMBER_OF, SILENCE
from training.world.session import SoundSession, Turn
from training.world.speech import Span

TURN = Turn("courtesy", "hello", "hello", 0.1, 0.3, 0.6, 0.8)


@cache
def folder_of_mimi(root: Path) -> Path:
    config = mimi_config(bins=64)
    save_file(random_mimi(config, 1), root / MIMI_NAME)
    (root / "mimi_config.json").write_text(json.dumps(config))
    return root


@pytest.fixture(scope="module")
def mimi_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder_of_mimi(tmp_path_factory.mktemp("mimi"))


@pytest.fixture(scope="module")
def mimi(mimi_folder: Path) -> Mimi:
    return load_mimi(mimi_folder)


def sound(seed: int, frames: int) -> NDArray[np.int16]:
    return np.random.default_rng(seed).normal(0, 3000, frames * 1920).astype(np.int16)


def session(seed: int, frames: int) -> SoundSession:
    phones = np.full(frames * 4, NUMBER_OF[SILENCE], dtype=np.uint8)
    phones[28:33] = NUMBER_OF[SILENCE] + 1  # 0.56 s to 0.66 s: frames 7 and 8
    words = (Span("hello", 0.56, 0.66),)
    return SoundSession(sound(seed, frames), sound(seed + 1, frames), phones, phones, words, (TURN,), {})


def test_codes_are_those_of_each_channel_alone_frame_by_frame(mimi: Mimi) -> None:
    channels = [sound(1, 6), sound(2, 4), sound(3, 6)]
    for channel, codes in zip(channels, encode(channels, mimi), strict=True):
        encoder = mimi.encoder(1)
        frames = torch.from_numpy(channel).float().div(32768).view(-1, 1, 1920)
        expected = torch.stack([encoder.step([0], frame)[0] for frame in frames], dim=1)
        assert np.array_equal(codes, expected.numpy())


def test_silent_channels_share_their_codes(mimi: Mimi) -> None:
    channels = [np.zeros(4 * 1920, dtype=np.int16), sound(1, 5), np.zeros(6 * 1920, dtype=np.int16)]
    for channel, codes in zip(channels, encode(channels, mimi), strict=True):
        assert np.array_equal(codes, encode([channel], mimi)[0])
        assert codes.shape == (8, len(channel) // 1920)


def test_a_session_keeps_its_two_sides_apart(mimi: Mimi) -> None:
    held = session(5, 12)
    (made,) = tokenise([held], mimi)
    moshi, user = encode([held.moshi, held.user], mimi)
    assert np.array_equal(made.moshi, moshi)
    assert np.array_equal(made.user, user)
    assert made.tokens().shape == (12, 17)
    assert made.tokens()[:, 0].tolist() == made.text.tolist()
    assert made.tokens()[:, 9].tolist() == user[0].tolist()


def test_words_and_speech_lie_in_their_frames(mimi: Mimi) -> None:
    (made,) = tokenise([session(5, 12)], mimi)
    assert made.text[7] == tokenizer().encode("hello")[0]
    assert np.flatnonzero(made.moshi_active).tolist() == [7, 8]


def test_a_run_makes_what_is_missing_and_nothing_else(
    tmp_path: Path, mimi_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, made = tmp_path / "world", tmp_path / "tokens"
    world.mkdir()
    for number in range(3):
        store.save(session(number, 5), store.path_of(world, number))
    monkeypatch.setattr(tokens, "ProcessPoolExecutor", InThisProcess)
    run(world, mimi_folder, made)
    assert [path.name for path in stored(made)] == [path.name for path in store.stored(world)]
    first, last = stored(made)[0], stored(made)[-1]
    written = first.stat().st_mtime_ns
    last.unlink()
    run(world, mimi_folder, made)
    assert first.stat().st_mtime_ns == written
    assert load(last).turns[0]["user_text"] == "hello"


class InThisProcess:
    """A pool of no processes."""

    def __init__(self, processes: int) -> None:
        self.map = map

    def __enter__(self) -> InThisProcess:
        return self

    def __exit__(self, *error: object) -> None:
        pass

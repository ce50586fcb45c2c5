"""The default checkpoint is lively enough for a demo: it listens, says words now and then, and can be heard."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from clients.cli.__main__ import DEMO_UTTERANCE
from clients.cli.audio import read_wav
from models.loading import resolve
from models.loading.lm import load_lm
from models.loading.mimi import load_mimi
from models.mimi import Mimi
from models.moshi_lm import Generator, Sampling
from scripts.make_checkpoint import make

_PAD_ID = 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint") / "default"
    make(folder)
    return folder


@pytest.fixture(scope="module")
def mimi(folder: Path) -> Mimi:
    return load_mimi(resolve(str(folder)))


@pytest.fixture(scope="module")
def user_codes(mimi: Mimi) -> Tensor:
    """[8, T] of the demo utterance."""
    samples = torch.tensor(read_wav(DEMO_UTTERANCE).samples, dtype=torch.float32) / 32768
    return mimi.encode(samples[None])[0]


@pytest.fixture(scope="module", params=[0.0, 0.8], ids=["greedy", "sampled"])
def reply(request: pytest.FixtureRequest, folder: Path, user_codes: Tensor) -> Tensor:
    """[T, 9] text and own codes."""
    generator = Generator(load_lm(resolve(str(folder)), torch.float32), slots=1)
    generator.open(0, Sampling(text_temperature=request.param, audio_temperature=request.param, seed=1))
    while generator.prefill(0, 32):
        pass
    frames = [generator.step([0], frame[None]) for frame in user_codes.T]
    return torch.stack([torch.cat((frame.text, frame.audio[0])) for frame in frames])


def test_speech_chooses_many_different_codes(user_codes: Tensor) -> None:
    assert min(codes.unique().numel() for codes in user_codes) >= 15


def test_most_of_the_time_nothing_is_said_but_not_always(reply: Tensor) -> None:
    text = reply[:, 0]
    assert 0.4 < (text == _PAD_ID).float().mean() < 0.95
    assert text.unique().numel() >= 8


def test_own_codes_are_diverse(reply: Tensor) -> None:
    assert min(codes.unique().numel() for codes in reply[:, 1:].T) >= 25


def test_the_reply_can_be_heard_and_does_not_clip(mimi: Mimi, reply: Tensor) -> None:
    pcm = mimi.decode(reply[:, 1:].T[None])
    assert 0.02 < pcm.std() < 0.2
    assert pcm.abs().max() < 1.0

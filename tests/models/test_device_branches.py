"""What layers do on devices, done on a CPU: the same conversation, the same codes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from moshi_cluster.models.layers import placement
from moshi_cluster.models.mimi import Mimi
from moshi_cluster.models.mimi.static import static_decoder, static_encoder
from moshi_cluster.models.moshi_lm import Generator, LmConfig, MoshiLm, Sampling
from moshi_cluster.models.moshi_lm.static import StaticGenerator
from tests.models.mimi import tiny
from tests.models.moshi_lm.conversation import GREEDY, alone, open_ready, speak
from tests.models.moshi_lm.random_model import KINDS, random_lm, random_tensors

FRAMES = 40
BIASED = Sampling(0.7, 25, 0.8, 250, 7, padding_multiplier=-1, repetition_penalty=1.7, repetition_penalty_context=9)


@pytest.fixture
def as_on_a_device(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing that is made or run inside seems to be on a CPU."""
    with monkeypatch.context() as patch:
        patch.setattr(placement, "_CPU", "elsewhere")
        yield


def lm_of(kind: str) -> MoshiLm:
    return MoshiLm.from_tensors(random_tensors(KINDS[kind]), LmConfig.from_dict(KINDS[kind]), torch.float32)


def expected(kind: str, sampling: Sampling, monkeypatch: pytest.MonkeyPatch) -> Tensor:
    """What the CPU's own ways say."""
    with monkeypatch.context() as patch:
        patch.setattr(placement, "_CPU", "cpu")
        return alone(random_lm(kind), sampling, 1, FRAMES)


@pytest.mark.usefixtures("as_on_a_device")
@pytest.mark.parametrize("kind", ["moshi", "hibiki", "listening"])
@pytest.mark.parametrize("sampling", [GREEDY, BIASED])
@pytest.mark.parametrize("static", [False, True], ids=["plain step", "static step"])
def test_a_conversation_is_the_same(
    kind: str, sampling: Sampling, static: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = expected(kind, sampling, monkeypatch)
    lm = lm_of(kind)
    generator: Any = StaticGenerator(lm, 3, buckets=(4,), spare=3) if static else Generator(lm, 3)
    open_ready(generator, 1, sampling)
    assert speak(generator, lm.config, 1, 1, range(FRAMES)).tolist() == said.tolist()
    open_ready(generator, 2, sampling, said[:30])
    assert speak(generator, lm.config, 2, 1, range(30, FRAMES)).tolist() == said[30:].tolist()


def test_mimi_gives_the_same_codes_and_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = tiny.mimi(8)
    encoder, decoder = plain.encoder(2), plain.decoder(2)
    pcm = torch.randn(6, 2, tiny.FRAME_SAMPLES, generator=torch.Generator().manual_seed(0)) / 8
    codes = [encoder.step([0, 1], frame) for frame in pcm]
    replies = [decoder.step([0, 1], column) for column in codes]
    monkeypatch.setattr(placement, "_CPU", "elsewhere")
    mimi = Mimi.from_tensors(tiny.tensors(), tiny.config(), 8)
    pairs: list[Any] = [
        (mimi.encoder(2), mimi.decoder(2)),
        (static_encoder(mimi, 2, [2]), static_decoder(mimi, 2, [2])),
    ]
    for there, back in pairs:
        for frame, column, reply in zip(pcm, codes, replies, strict=True):
            assert torch.equal(there.step([0, 1], frame), column)
            assert (back.step([0, 1], column) - reply).abs().max() < 1e-5

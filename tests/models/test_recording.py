"""Steps that are recorded once and repeated say what they say when they run: nothing of the host is baked in."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from moshi_cluster.models.device_step import DeviceStep
from moshi_cluster.models.layers import placement
from moshi_cluster.models.mimi import Mimi
from moshi_cluster.models.mimi.static import static_decoder, static_encoder
from moshi_cluster.models.moshi_lm import LmConfig, MoshiLm, Sampling
from moshi_cluster.models.moshi_lm.static import StaticGenerator
from tests.models.mimi import tiny
from tests.models.moshi_lm.conversation import alone, open_ready, speak
from tests.models.moshi_lm.random_model import KINDS, random_lm, random_tensors
from tests.models.recording import Recording, recordings

__all__ = ["recordings"]
BUCKETS, FRAMES = (4, 8), 9
SAMPLINGS = [
    Sampling(0.7, 25, 0.8, 250, 7, padding_multiplier=-1, repetition_penalty=1.7, repetition_penalty_context=9),
    Sampling(0.0, 1, 1.0, 500, seed=2**63),
]


@pytest.mark.parametrize(("kind", "kv_dtype"), [("moshi", None), ("moshi", torch.int8), ("hibiki", None)])
def test_a_recorded_lm_says_what_the_plain_one_says(
    recordings: list[Recording], kind: str, kv_dtype: torch.dtype | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = random_lm(kind)
    expected = [alone(lm, sampling, 1, FRAMES) for sampling in SAMPLINGS] if kv_dtype is None else None
    monkeypatch.setattr(placement, "_CPU", "elsewhere")
    lm = MoshiLm.from_tensors(random_tensors(KINDS[kind]), LmConfig.from_dict(KINDS[kind]), torch.float32)
    said = []
    for slots in ((3, 1), (0, 2)):  # the same, whoever was there before and wherever they are
        generator = StaticGenerator(lm, 4, kv_dtype=kv_dtype, buckets=BUCKETS, spare=3)
        recordings.clear()
        generator.warm()
        assert [recording.priority for recording in recordings] == [0] * len(BUCKETS)
        said.append([])
        for slot, sampling in zip(slots, SAMPLINGS, strict=True):
            open_ready(generator, slot, sampling)
            said[-1].append(speak(generator, lm.config, slot, 1, range(FRAMES)))
        restored = min(set(range(4)) - set(slots))
        open_ready(generator, restored, SAMPLINGS[0], said[-1][0][:-2])
        said[-1].append(speak(generator, lm.config, restored, 1, range(FRAMES - 2, FRAMES)))
        assert said[-1][-1].tolist() == said[-1][0][-2:].tolist()
        assert sum(recording.replays for recording in recordings) > 2 * FRAMES
    for first, second in zip(*said, strict=True):
        assert first.tolist() == second.tolist()
    if expected is not None:
        assert [each.tolist() for each in said[0][:2]] == [each.tolist() for each in expected]


def test_a_recorded_codec_gives_the_plain_ones_codes_and_samples(
    recordings: list[Recording], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = tiny.mimi(8)
    pcm = torch.randn(FRAMES, 2, tiny.FRAME_SAMPLES, generator=torch.Generator().manual_seed(0)) / 8
    there, back = plain.encoder(2), plain.decoder(2)
    codes = [there.step([0, 1], frame) for frame in pcm]
    replies = [back.step([0, 1], column) for column in codes]
    monkeypatch.setattr(placement, "_CPU", "elsewhere")
    mimi = Mimi.from_tensors(tiny.tensors(), tiny.config(), 8)
    halves: list[Any] = []
    for half in (static_encoder, static_decoder):
        recordings.clear()
        halves.append(half(mimi, 3, BUCKETS))
        halves[-1].warm()
        assert {recording.priority for recording in recordings} == {-1}, "before those of an lm in the same process"
    encoder, decoder = halves
    for frame, column, reply in zip(pcm, codes, replies, strict=True):
        assert torch.equal(encoder.step([2, 0], frame), column)
        assert (decoder.step([2, 0], column) - reply).abs().max() < 1e-5


def test_what_the_host_decides_is_baked_in_and_found(recordings: list[Recording]) -> None:
    count = iter(range(9))
    step = DeviceStep(lambda rows: rows[:, 1:] + next(count), [0, 0], 1, [2], "cpu")
    step.warm()
    step.launch(torch.tensor([[0, 5]], dtype=torch.int32))
    assert step.finish().tolist() == [[5 + 1]]  # of the time when it was recorded
    step.launch(torch.tensor([[0, 7]], dtype=torch.int32))
    assert step.finish().tolist() == [[7 + 1]]


def test_what_reads_back_cannot_be_recorded(recordings: list[Recording]) -> None:
    step = DeviceStep(lambda rows: rows[:, 1:] * int(rows.sum()), [0, 0], 1, [2], "cpu")
    with pytest.raises(AssertionError, match="cannot be recorded"):
        step.warm()

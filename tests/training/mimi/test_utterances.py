"""Utterances are cut with their past, and every sentence only a few times."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from moshi_cluster.audio.frame import FRAME_SAMPLES
from tests.training.mimi.calls import FRAMES, REPLIES_AT, call, write_calls
from training import tokens
from training.mimi.utterances import LEAST_FRAMES, PAST_FRAMES, Collection, Utterances, collect
from training.world.store import path_of

CALLS = 6


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    world, tokenised = (tmp_path_factory.mktemp("calls") / name for name in ("world", "tokens"))
    write_calls(world, tokenised, [call(number) for number in range(CALLS)])
    return world, tokenised


@pytest.fixture(scope="module")
def collection(folders: tuple[Path, Path]) -> Collection:
    return collect(*folders)


def test_every_sentence_is_taken_three_times_and_a_caller_of_every_third_call(collection: Collection) -> None:
    assert len(collection["moshi"]) == 3 * 2  # two sentences
    assert len(collection["user"]) == CALLS / 3
    assert len(collection["opening"]) == CALLS


def test_an_utterance_is_a_stretch_of_its_call_that_begins_before_the_first_word(
    folders: tuple[Path, Path], collection: Collection
) -> None:
    first = REPLIES_AT[0] - 1 - PAST_FRAMES
    frames = slice(first, first + PAST_FRAMES + LEAST_FRAMES)
    utterance = collection["moshi"][0]
    session = tokens.load(path_of(folders[1], 0))
    assert np.array_equal(utterance.codes, session.moshi[:, frames])
    samples = slice(frames.start * FRAME_SAMPLES, frames.stop * FRAME_SAMPLES)
    assert np.array_equal(utterance.pcm, call(0).moshi[samples])


def test_a_batch_has_codes_of_the_past_and_sound_of_the_rest(collection: Collection) -> None:
    frames = 20
    batch = Utterances({"moshi": collection["moshi"][:1], "user": [], "opening": []} | kept(collection), 1).draw(
        4, frames, moshi_share=1.0
    )
    assert batch.codes.shape == (4, PAST_FRAMES + frames, 4)
    whole = collection["moshi"][0]
    for codes, target in zip(batch.codes, batch.target, strict=True):
        places = [
            start
            for start in range(whole.codes.shape[1] - PAST_FRAMES - frames + 1)
            if np.array_equal(whole.codes[:, start : start + PAST_FRAMES + frames].T, codes.numpy())
        ]
        cut = [(start + PAST_FRAMES) * FRAME_SAMPLES for start in places]
        sounds = [torch.from_numpy(whole.pcm[at : at + frames * FRAME_SAMPLES] / 32768).float() for at in cut]
        assert any(torch.equal(sound, target) for sound in sounds)


def kept(collection: Collection) -> Collection:
    return {kind: collection[kind] for kind in ("user", "opening")}


def test_openings_are_the_first_frames_of_calls_and_have_no_past(collection: Collection) -> None:
    batch = Utterances(collection, 1).draw_openings(3, LEAST_FRAMES)
    assert batch.codes.shape == (3, LEAST_FRAMES, 4)
    assert torch.equal(batch.target[0], torch.from_numpy(call(0).moshi[: LEAST_FRAMES * FRAME_SAMPLES] / 32768).float())
    assert LEAST_FRAMES < FRAMES


def test_callers_are_drawn_as_often_as_asked(collection: Collection) -> None:
    def callers(share: float) -> float:
        """Noise jumps from sample to sample, tones do not."""
        sound = Utterances(collection, 2).draw(40, 20, share).target[:, -FRAME_SAMPLES:]
        steps = (sound[:, 1:] - sound[:, :-1]).std(dim=1)
        return float((steps > 0.06).float().mean())

    assert callers(1.0) == 0
    assert 0.05 < callers(0.8) < 0.4


def test_without_utterances_of_a_kind_there_is_nothing_to_draw() -> None:
    with pytest.raises(ValueError, match="opening"):
        Utterances({"moshi": [], "user": [], "opening": []}, 1)

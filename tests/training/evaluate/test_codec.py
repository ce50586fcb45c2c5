"""Figures of a codec."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import save_file

from moshi_cluster.models.loading.published import MIMI_NAME
from tests.training.evaluate.test_opus import chirps
from tests.training.mimi.small import small_config, small_network
from training.evaluate import codec
from training.evaluate.codec import codebook_use, good, heard_right, table, utterances
from training.world.session import SoundSession, Turn
from training.world.store import path_of, save

FRAMES = 40
CODEBOOKS = small_config()["quantizer"]["n_q"]


def call() -> SoundSession:
    pcm = (32767 * np.tile(chirps(0.5), 7)[: FRAMES * 1920]).astype(np.int16)
    phones = np.zeros(FRAMES * 4, dtype=np.uint8)
    turns = (
        Turn("sum", "", "", user_start_s=0.1, user_end_s=1.1, reply_start_s=1.2, reply_end_s=2.2),
        Turn("too short", "", "", user_start_s=2.2, user_end_s=2.4, reply_start_s=2.5, reply_end_s=3.1),
    )
    return SoundSession(pcm, pcm, phones, phones, (), turns, {})


def results(stoi: float, mel_db: float) -> dict[str, Any]:
    row = {"stoi": stoi, "stoi_tenth": 0.8, "mel_db": mel_db, "mel_telephone_db": 3.0, "bits_per_s": 800.0}
    books = [{"entries": 7, "entropy_bits": 2.5}]
    side = {"mimi": row, "opus": row | {"mel_db": 4.0, "bits_per_s": 6000.0}, "codebooks": books}
    understood = {"all": 9, "original": 8, "mimi": 7, "opus": 6}
    return {"user": side, "moshi": side, "understood": understood}


def test_what_is_too_short_to_measure_is_left_out() -> None:
    assert list(utterances(call(), "user")) == [slice(2400, 26400)]
    assert list(utterances(call(), "moshi")) == [slice(28800, 52800), slice(60000, 74400)]


def test_use_of_a_codebook() -> None:
    even, single = codebook_use(np.array([[0, 1, 2, 3] * 5, [9] * 20]), bins=16)
    assert (even.entries, even.entropy_bits) == (4, pytest.approx(2))
    assert (single.entries, single.entropy_bits) == (1, 0)


@pytest.mark.parametrize(("stoi", "mel_db", "verdict"), [(0.9, 3.0, True), (0.84, 3.0, False), (0.9, 4.1, False)])
def test_a_codec_is_good_when_intelligible_and_nearer_than_opus(stoi: float, mel_db: float, verdict: bool) -> None:
    assert good(results(stoi, mel_db)) is verdict


def test_only_the_side_that_is_played_must_be_good() -> None:
    poor = results(0.5, 9.0)["user"]
    assert good(results(0.9, 3.0) | {"user": poor})
    assert not good(results(0.9, 3.0) | {"moshi": poor})


def test_answers_that_were_not_talked_over_are_heard_in_every_version() -> None:
    loud, silent = np.full(FRAMES * 1920, 0.5, np.float32), np.zeros(FRAMES * 1920, np.float32)
    turns = (
        Turn("long", "", "word", 0.0, 0.1, reply_start_s=0.5, reply_end_s=1.5),
        Turn("other", "", "another word", 0.0, 0.1, reply_start_s=1.6, reply_end_s=2.0),
        Turn("cut", "", "word", 0.0, 0.1, reply_start_s=2.0, reply_end_s=2.5, interrupted=True),
    )
    lengths = []

    def hear(sound: np.ndarray) -> str:
        lengths.append(len(sound))
        return "word" if len(sound) else ""

    counts = heard_right(replace(call(), turns=turns), {"original": loud, "mimi": silent}, hear)
    assert counts == {"all": 2, "original": 1, "mimi": 0}
    assert lengths == [26400, 0, 12000, 0]  # with 0.1 s after each, and without silence


def test_the_table_has_all_figures() -> None:
    lines = table(results(0.9, 3.0)).splitlines()
    assert "| user | mimi | 0.80 | 0.90 | 0.80 | 3.00 | 3.00 |" in lines
    assert "| 0 | 7 | 2.50 | 7 | 2.50 |" in lines
    assert lines[-1] == "Of Moshi's 9 answers a recogniser understands: original 8, mimi 7, opus 6."


def test_the_command_measures_an_export(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save_file(small_network().published(), tmp_path / MIMI_NAME)
    (tmp_path / "mimi_config.json").write_text(json.dumps(small_config()))
    save(call(), path_of(tmp_path, 0))
    monkeypatch.setattr(codec, "recogniser", lambda: lambda sound: "")
    output = tmp_path / "codec.json"
    monkeypatch.setattr(
        sys, "argv", ["codec", "--mimi", str(tmp_path), "--data", str(tmp_path), "--output", str(output)]
    )
    assert codec.main() == 1  # an untrained codec is not good
    measured = json.loads(output.read_text())
    assert measured["moshi"]["utterances"] == 2
    assert measured["user"]["mimi"]["stoi"] < measured["user"]["opus"]["stoi"]
    assert len(measured["user"]["codebooks"]) == CODEBOOKS
    assert "| user | opus |" in capsys.readouterr().out

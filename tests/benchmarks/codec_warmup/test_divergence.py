"""How near a codec that was sent a stream's last frames comes to one that has heard all of it."""

from __future__ import annotations

import pytest
import torch

from benchmarks.codec_warmup import __main__ as command
from benchmarks.codec_warmup.divergence import decoders, encoders
from benchmarks.codec_warmup.voices import speech_frames
from moshi_cluster.models.mimi import Mimi

REACH_FRAMES = 60  # of the golden codec: two layers that look back 20 frames each, and the convolutions
WARMUPS = (0, 4, REACH_FRAMES)
STARTS = range(70, 130, 20)


@pytest.fixture(scope="module")
def mimi() -> Mimi:
    return command._codec("golden")


def test_an_encoder_gives_the_undisturbed_ones_codes_once_it_has_heard_all_that_it_looks_back_on(mimi: Mimi) -> None:
    cold, warmer, warm = encoders(mimi, speech_frames()[100:330], WARMUPS, STARTS)
    assert cold.first_equal < warmer.equal < warm.equal == warm.first_equal == warm.semantic_equal == 1.0


def test_a_decoder_gives_the_undisturbed_ones_sound(mimi: Mimi) -> None:
    codes = mimi.encode(speech_frames()[100:330].reshape(1, -1))[0].T
    cold, warmer, warm = decoders(mimi, codes, WARMUPS, STARTS)
    assert cold.error_db > warmer.error_db > warm.error_db < -90
    assert cold.stoi < warm.stoi == pytest.approx(1.0)
    assert cold.largest > warm.largest < 1e-4


def test_the_command_prints_likeness_and_costs(
    mimi: Mimi, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    threads = torch.get_num_threads()
    monkeypatch.setattr(command, "speech_frames", lambda: speech_frames()[:100])
    try:
        command.main(["golden", "--warmups", "0", "3", "--every", "40"])
    finally:
        torch.set_num_threads(threads)
    printed = capsys.readouterr().out
    assert printed.count("\n| 3 ") == 2
    assert "codes equal" in printed and "16 at once" in printed

"""The command of `make eval`: what it says at the end, and with which exit status."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

pytest.importorskip("pocketsphinx", reason="pocketsphinx is not installed: pip install '.[train]'")

from benchmarks.online.cluster import Cluster
from benchmarks.online.report import LoadReport
from moshi_cluster.cluster.recorded_callers import RecordedCaller
from training.evaluate import live
from training.evaluate.calling import HeldCalls
from training.evaluate.judge import HeldCall
from training.evaluate.recordings import NoSynthesiserError

Answer = Callable[[str], str]


class DeafRecogniser:
    def hear_floats(self, sound: np.ndarray[Any, Any]) -> str:
        return ""


def moshi_says(reply: Answer) -> Callable[[Path, Sequence[RecordedCaller]], list[HeldCall]]:
    """Calls in which every question gets what `reply` makes of the right answer, at once."""

    def hold(checkpoint: Path, recordings: Sequence[RecordedCaller]) -> list[HeldCall]:
        calls = []
        for recording in recordings:
            frames = len(recording.mu_law) // 640
            pieces = [""] * frames
            for turn in recording.turns:
                pieces[round(turn["user_end_s"] * 12.5) + 1] = f" {reply(turn['reply_text'])}"
            calls.append(HeldCall(recording.turns, pieces, np.zeros(frames * 1920, np.float32)))
        return calls

    return hold


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., int]:
    def run(reply: Answer, *options: str) -> int:
        monkeypatch.setattr(live, "Recogniser", DeafRecogniser)
        monkeypatch.setattr(live, "hold_offline", moshi_says(reply))
        return live.main(["--recorded", "--offline", "--checkpoint", str(tmp_path), *options])

    return run


def last_line(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().out.splitlines()[-1]


def test_figures_that_were_written_hold_until_answers_get_worse(
    run: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(lambda right: right, "--write") == 0
    assert last_line(capsys).startswith("22 of 22 (100.0 %) exactly right, 0 of 22 (0.0 %) of these understood")
    assert run(lambda right: right) == 0
    assert last_line(capsys).endswith("the model card's figures hold")
    assert run(lambda right: right.replace("three", "four")) == live.EXIT_BROKEN
    assert "do NOT hold: answers exactly right" in last_line(capsys)


def test_a_checkpoint_without_figures_does_not_hold(
    run: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(lambda right: right) == live.EXIT_BROKEN
    assert "the card has none" in last_line(capsys)


def test_a_machine_without_synthesisers_is_told_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def made(exchanges: int) -> list[RecordedCaller]:
        raise NoSynthesiserError("making up calls needs a voice")

    monkeypatch.setattr(live, "made", made)
    assert live.main(["--checkpoint", "anywhere"]) == live.EXIT_FAILED
    assert capsys.readouterr().err == "error: making up calls needs a voice\n"


def test_a_gateway_that_is_there_is_called_and_no_other_started(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    called: list[str] = []

    def hold(cluster: Cluster, recordings: Sequence[RecordedCaller], callers: int) -> HeldCalls:
        called.append(cluster.target)
        return HeldCalls(moshi_says(lambda right: right)(tmp_path, recordings), cast(LoadReport, None))

    monkeypatch.setattr(live, "hold", hold)
    monkeypatch.setattr(live, "_load", lambda _report, callers: f"{callers} callers")
    monkeypatch.setattr(live, "Recogniser", DeafRecogniser)
    assert live.main(["--recorded", "--target", "127.0.0.1:1", "--checkpoint", str(tmp_path)]) == live.EXIT_BROKEN
    assert called == ["127.0.0.1:1"]
    assert "the card has none" in last_line(capsys)


def test_the_figures_of_somebody_elses_cluster_are_never_the_cards(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        live.main(["--recorded", "--target", "127.0.0.1:1", "--write"])
    assert ended.value.code == 2
    assert "--write takes the figures of a cluster of its own" in capsys.readouterr().err

"""The second stage from the command line, stopped in between."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from moshi_cluster.models.loading.published import MIMI_NAME
from moshi_cluster.models.mimi import Mimi, MimiConfig
from tests.training.mimi.calls import call, write_calls
from tests.training.mimi.small import noise, small_config, small_weights
from training.mimi import tune
from training.mimi.tune import rate


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tune, "_BATCH", 2)
    monkeypatch.setattr(tune, "_REPORT_S", 0.2)
    monkeypatch.setattr(tune, "_SAVE_S", 0.4)
    write_calls(tmp_path / "world", tmp_path / "tokens", [call(number) for number in range(3)])
    trained = tmp_path / "mimi"
    trained.mkdir()
    save_file(small_weights(), trained / MIMI_NAME)
    (trained / "mimi_config.json").write_text(json.dumps(small_config()))
    return tmp_path


def run(folder: Path, monkeypatch: pytest.MonkeyPatch, minutes: float) -> int:
    """Returns the steps made in all."""
    given = {name: folder / name for name in ("world", "tokens", "mimi")} | {"output": folder / "tuned"}
    options = [part for name, path in given.items() for part in (f"--{name}", str(path))]
    monkeypatch.setattr(sys, "argv", ["tune", *options, "--minutes", str(minutes)])
    tune.main()
    return int(torch.load(folder / "tuned" / "state.pt")["progress"]["step"])


def test_a_stopped_run_goes_on_and_its_output_is_a_codec_with_the_same_codes(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    half = run(folder, monkeypatch, 0.015)
    for path in (folder / "world").iterdir():  # the second time the utterances are there already
        path.unlink()
    assert run(folder, monkeypatch, 0.03) > half > 0
    assert "hearing" in capsys.readouterr().out
    assert (folder / "tuned" / "curves.csv").stat().st_size > 0

    config = MimiConfig.from_dict(json.loads((folder / "tuned" / "mimi_config.json").read_text()))
    before, after = (
        Mimi.from_tensors(load_file(folder / name / MIMI_NAME), config, config.codebooks) for name in ("mimi", "tuned")
    )
    codes = before.encode(noise(1, 5))
    assert torch.equal(after.encode(noise(1, 5)), codes)
    assert not torch.equal(after.decode(codes), before.decode(codes))


def test_the_rate_rises_first_and_falls_to_its_floor() -> None:
    assert rate(0, 0.0) < rate(20, 0.0) < rate(100, 0.0)
    assert rate(100, 0.0) > rate(5000, 0.5) > rate(9000, 1.0) > 0

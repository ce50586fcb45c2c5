"""A run from nothing to an export, stopped in between."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from moshi_cluster.models.loading.published import MIMI_NAME
from moshi_cluster.models.mimi import Mimi, MimiConfig
from tests.training.mimi.small import noise, small_config, write_sessions
from training.mimi import loop
from training.mimi.loop import Loop

MINUTES = 0.04


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(loop, "demo_config", small_config)
    monkeypatch.setattr(loop, "CROP_FRAMES", 12)
    monkeypatch.setattr(loop, "_REPORT_S", 0.2)
    monkeypatch.setattr(loop, "_SAVE_S", 0.5)
    write_sessions(tmp_path / "world", 2)
    return tmp_path / "world"


def test_a_stopped_run_goes_on_and_its_export_is_a_checkpoint(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "mimi"
    output.mkdir()
    half = Loop(data, output, MINUTES / 2, rank=0)
    half.run()
    resumed = Loop(data, output, MINUTES, rank=0)
    assert resumed.progress.step == half.progress.step > 0
    resumed.run()
    assert resumed.progress.step > half.progress.step

    said = capsys.readouterr().out
    assert "of audio per s" in said and "exported to" in said
    rows = list(csv.DictReader((output / "curves.csv").open()))
    assert [float(row["minutes"]) for row in rows] == sorted(float(row["minutes"]) for row in rows)
    assert float(rows[-1]["mel"]) > 0 and (output / "curves.png").stat().st_size > 1000

    config = MimiConfig.from_dict(json.loads((output / "export" / "mimi_config.json").read_text()))
    tensors = load_file(output / "export" / MIMI_NAME)
    mimi = Mimi.from_tensors(tensors, config, config.codebooks)
    assert mimi.decode(mimi.encode(noise(1, 4))).shape == (1, 4 * 1920)


def test_the_second_process_writes_nothing(data: Path, tmp_path: Path) -> None:
    output = tmp_path / "mimi"
    output.mkdir()
    torch.manual_seed(0)
    Loop(data, output, 0.01, rank=1).run()
    assert list(output.iterdir()) == []

"""A run learns, stops with its budget, and goes on where it was cut off."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.lm.sessions import session
from training.lm import trainer
from training.lm.auxiliary import CallerHeads
from training.lm.budget import Budget
from training.lm.data import Batches
from training.lm.examples import example, heard_only
from training.lm.export import build
from training.lm.sizes import lm_config
from training.lm.trainer import Recipe, Trainer
from training.lm.vocabulary import Vocabulary


class StepsBudget(Budget):
    """A step costs six seconds, whatever the machine does."""

    def __init__(self, used_s: float = 0.0) -> None:
        super().__init__(used_s)
        self._counted_s = used_s

    @property
    def used_s(self) -> float:
        return self._counted_s

    def leave_out(self, seconds: float) -> None:
        assert seconds == 0


@pytest.fixture(autouse=True)
def countable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "Budget", StepsBudget)
    step = Trainer._train

    def counted(self: Trainer, *arguments: object) -> None:
        step(self, *arguments)  # type: ignore[arg-type]
        self.budget._counted_s += 6  # type: ignore[attr-defined]

    monkeypatch.setattr(Trainer, "_train", counted)


def make(folder: Path, minutes: float) -> Trainer:
    torch.manual_seed(1)
    words = Vocabulary(["spell", "cat"])
    narrow = {"dim": 16, "num_heads": 2, "num_layers": 2, "depformer_dim": 8, "depformer_num_heads": 2}
    lm = build(lm_config(text_card=24, card=20) | narrow | {"depformer_dim_feedforward": 33})
    examples = [example(session(seed), lm.config, words) for seed in range(4)]
    recipe = Recipe(minutes, frames_per_batch=120, log_steps=5, evaluate_minutes=1.0, peak_rate=0.02)
    calls, alone = Batches(examples, 120, 1, 75), Batches([heard_only(each) for each in examples], 60, 1, 75)
    return Trainer(lm, CallerHeads(16, 40, len(words), 4), calls, alone, folder, recipe)


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "losses.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_loss_falls_until_the_minutes_are_used(tmp_path: Path) -> None:
    make(tmp_path, 3).run(lambda: {"given": {}, "answers": {"all": (1, 2)}})
    found = rows(tmp_path)
    assert [int(row["step"]) for row in found] == [5, 10, 15, 20, 25, 30]
    assert float(found[-1]["phones"]) < float(found[0]["phones"])
    evaluations = [json.loads(line) for line in (tmp_path / "evaluations.jsonl").read_text().splitlines()]
    assert [evaluation["minutes"] for evaluation in evaluations] == [1, 2, 3]
    assert (tmp_path / "curves.png").stat().st_size > 1000


def test_a_second_run_goes_on_where_the_first_one_stopped(tmp_path: Path) -> None:
    make(tmp_path, 1).run(lambda: {"answers": {}})
    with (tmp_path / "losses.csv").open("a", encoding="utf-8") as file:
        file.write("15,1.5,0,0,9,9,9,9,9,9,9\n")  # by a run that was cut off before it could save
    second = make(tmp_path, 2)
    assert second.minutes == 1
    assert len(rows(tmp_path)) == 3  # untouched until it runs: of several processes only the first writes
    second.run(lambda: {"answers": {}})
    assert [int(row["step"]) for row in rows(tmp_path)] == [5, 10, 15, 20]
    assert float(rows(tmp_path)[2]["text"]) != 9


def test_a_run_that_is_stopped_saves_what_it_has(tmp_path: Path) -> None:
    first = make(tmp_path, 2)

    def stop() -> dict[str, Any]:
        first.stop()
        return {"answers": {}}

    first.run(stop)  # the first evaluation, after a minute
    assert make(tmp_path, 2).minutes == pytest.approx(1.1)

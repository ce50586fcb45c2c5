"""The one command: its stages hand on what the ones before them made."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from training.__main__ import Plan, main

PLAN = Plan(Path("all"), hours=2, alone_hours=3, mimi_minutes=3, voice_minutes=4, lm_minutes=5)


def test_the_stages_are_in_the_order_in_which_they_need_each_other() -> None:
    assert list(PLAN.stages()) == ["world", "mimi", "tokens", "voice", "lm", "evaluate"]


@pytest.mark.parametrize("stage", ["mimi", "tokens", "voice", "lm", "evaluate"])
def test_a_stage_reads_only_what_an_earlier_one_wrote(stage: str) -> None:
    written: list[str] = []
    for name, commands in PLAN.stages().items():
        if name == stage:
            break
        options = [dict(zip(command[3::2], command[4::2], strict=True)) for command in commands]
        written += [given[key] for given in options for key in ("--output", "--export") if key in given]
    for command in PLAN.stages()[stage]:
        options = dict(zip(command[3::2], command[4::2], strict=True))
        for key in {
            "--data",
            "--alone",
            "--held-out",
            "--world",
            "--mimi",
            "--tokens",
            "--checkpoint",
        } & options.keys():
            assert any(Path(options[key]).is_relative_to(folder) for folder in written), (key, options[key])


@pytest.mark.parametrize("command", [command for commands in PLAN.stages().values() for command in commands], ids=str)
def test_every_stage_takes_the_options_that_it_is_given(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = command[2]
    if module == "training.evaluate":
        pytest.importorskip("pocketsphinx")
    monkeypatch.setattr(sys, "argv", [module, *command[3:], "--help"])
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(f"{module}.__main__" if is_package(module) else module).main()
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert all(option in shown for option in command[3::2])


def is_package(module: str) -> bool:
    found = importlib.util.find_spec(module)
    return found is not None and found.submodule_search_locations is not None


def test_a_stage_that_does_not_exist_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["training", "wolrd"])
    with pytest.raises(SystemExit):
        main()

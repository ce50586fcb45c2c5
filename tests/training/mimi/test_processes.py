"""Two processes train as one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from training.mimi.processes import average_gradients, from_first, mean, run_workers, summed

PROGRAM = """
import sys
from pathlib import Path
import torch
from torch import nn
from training.mimi.processes import average_gradients, from_first, join, mean, summed
rank = join()
parameter, untouched = nn.Parameter(torch.zeros(3)), nn.Parameter(torch.zeros(2))
parameter.grad = torch.full((3,), float(rank))
average_gradients([parameter, untouched])
seen = [summed(torch.tensor([rank + 1.0])).item(), from_first(torch.tensor([rank + 5.0])).item()]
print(rank, seen, mean([rank]), parameter.grad.tolist(), untouched.grad, torch.get_num_threads())
Path(sys.argv[1], f"{rank}.txt").write_text(repr((seen, mean([rank]), parameter.grad.tolist())))
"""


def test_two_processes_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "two_processes.py").write_text(PROGRAM)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{Path(__file__).parents[3]}")
    assert run_workers(["two_processes", str(tmp_path)], processes=2) == 0
    written = {(tmp_path / f"{rank}.txt").read_text() for rank in range(2)}
    assert written == {repr(([3.0, 5.0], [0.5], [0.5, 0.5, 0.5]))}


def test_a_failed_process_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "fails.py").write_text("raise SystemExit(3)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert run_workers(["fails"], processes=1) == 3


def test_one_process_alone_needs_no_others() -> None:
    x = torch.ones(2)
    assert summed(x) is x and from_first(x) is x
    assert mean([2.0, 4.0]) == [2.0, 4.0]
    parameter = torch.nn.Parameter(x)
    parameter.grad = torch.tensor([1.0, 2.0])
    average_gradients([parameter])
    assert parameter.grad.tolist() == [1.0, 2.0]

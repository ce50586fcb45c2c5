"""That the command runs and what it prints and writes is well-formed. Its times mean nothing here."""

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.offline import __main__ as command


def test_compares_and_tells_the_same_in_tables_and_json(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    printed = _run("--quick", "--threads", "1", "--json", str(file))
    assert "LM, small size, lm-small: ms per LM step" in printed
    assert "Mimi, small size, mimi-small: ms per codec frame" in printed
    rows = [line for line in printed.splitlines() if line.startswith("| ") and line[2].isdigit()]
    found = json.loads(file.read_text())
    assert len(rows) == len(found["rows"]) == 6  # 1 and 2 sessions; LM sessions fresh and with a full window
    assert found["setting"]["threads"] == 1
    for row in found["rows"]:
        assert 0 < row["ours"]["p10_ms"] <= row["ours"]["median_ms"] <= row["ours"]["p90_ms"]
        assert row["read_ms"] > 0 < row["multiply_ms"]
        assert row["upstream"] is None
        assert row["times_faster"] is None


def test_profile_names_every_part_of_a_step(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    printed = _run("--quick", "--profile", "--threads", "1", "--batches", "1", "--json", str(file))
    lm, mimi = json.loads(file.read_text())["profiles"]
    expected = {"embeddings", "temporal: products", "temporal: attention", "text head: products"}
    expected |= {"depth: products", "sampling: text", "sampling: audio", "everything else"}
    assert expected <= lm["sections_ms"].keys()
    expected = {"SEANet encoder: products", "transformers: attention", "quantizer: products", "resampling"}
    assert expected | {"SEANet decoder: products"} <= mimi["sections_ms"].keys()
    for profile in (lm, mimi):
        assert profile["operators"]["products"]["calls"] > 0
        assert all(ms >= 0 for ms in profile["sections_ms"].values())
    assert "ms by section" in printed


def test_an_interpreter_that_is_not_there_is_named(monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["offline", "--quick", "--upstream-python", "/no/such/python"])
    assert command.main() == 1
    assert "/no/such/python" in capsys.readouterr().err


def _run(*arguments: str) -> str:
    command = [sys.executable, "-m", "benchmarks.offline", *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=200).stdout

"""The table of layouts, of a small random model: what is counted, and who agrees with whom."""

from __future__ import annotations

import sys

import pytest

from benchmarks.layouts import __main__ as command


def cells(printed: str) -> dict[str, list[str]]:
    """By layout."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in printed.splitlines() if line[:1] == "|"]
    return {row[0]: row[1:] for row in rows[2:]}


def test_sizes_fall_with_the_bits_and_the_exact_model_agrees_with_itself(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--size", "small", "--only", "MLX q4", "--rounds", "1", "--steps", "1", "--forced", "8"]
    monkeypatch.setattr(sys, "argv", ["layouts", *options])
    assert command.main() == 0
    table = cells(capsys.readouterr().out)
    exact, base, packed = table["PyTorch bf16, float32 activations"], table["PyTorch bf16"], table["MLX q4"]
    assert exact[-2:] == ["100.0%, 0.000", "100.0%, 0.000"]
    assert not base[-2].endswith(" 0.000"), "bfloat16 is not exact"
    file_mb, counted_mb = float(base[0]), float(base[1])
    assert file_mb == pytest.approx(counted_mb, rel=0.05)
    assert float(exact[1]) == pytest.approx(2 * counted_mb, rel=0.05)
    assert float(packed[0]) < 0.5 * file_mb
    assert float(exact[3]) == pytest.approx(2 * float(base[3]), rel=0.1), "a slot's memory in float32 and bfloat16"
    assert "(1.00 x)" in base[5] and "(1.00 x)" in base[6]


def test_an_unusable_checkpoint_is_one_line_and_status_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["layouts", "--checkpoint", "nowhere"])
    assert command.main() == 1
    assert capsys.readouterr().err.startswith("error: checkpoint 'nowhere'")

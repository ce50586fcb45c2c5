"""How a conversation with Moshi's own client is judged. The client itself runs in tests/cluster."""

from __future__ import annotations

import sys
from pathlib import Path
from subprocess import SubprocessError
from typing import Any

import pytest

from benchmarks.chat.logs import complaints
from benchmarks.chat.upstream import conversation, verdict

GOOD: dict[str, Any] = {
    "blocks_said": 374,
    "blocks_played": 371,
    "lags_after_first": 0,
    "log": ["Info: connected", "Warning: unknown message kind 0", "Error: Lost connection with the server!"],
}


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({}, []),
        ({"lags_after_first": 2}, ["2 of 371 blocks were not there in time"]),
        ({"blocks_played": 12}, ["374 blocks said, 12 heard"]),
        ({"log": ["Warning: unknown message kind 9"]}, ["the client says: Warning: unknown message kind 9"]),
    ],
)
def test_gaps_and_warnings_are_faults(change: dict[str, Any], fault: list[str]) -> None:
    assert verdict(GOOD | change) == fault


def test_a_python_without_the_package_is_said() -> None:
    with pytest.raises(SubprocessError, match="upstream_client.py"):
        conversation(sys.executable, "http://127.0.0.1:1/", 0.1, Path("absent.wav"))


def test_warnings_and_worse_are_complaints(tmp_path: Path) -> None:
    (tmp_path / "lm-0.log").write_text("12:00 INFO lm all is well\n12:01 WARNING lm grace is over\n")
    (tmp_path / "gateway-0.log").write_text("12:00 ERROR gateway cannot start\nTraceback (most recent call last):\n")
    assert [line.partition(": ")[0] for line in complaints(tmp_path)] == ["gateway-0.log"] * 2 + ["lm-0.log"]

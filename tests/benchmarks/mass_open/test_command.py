"""Sessions that open at once beside live ones, against a real lm process."""

from __future__ import annotations

import pytest

from benchmarks.mass_open import __main__ as command

pytestmark = pytest.mark.cluster


def test_the_command_prints_a_row_for_each_history(capsys: pytest.CaptureFixture[str]) -> None:
    command.main(["--live", "1", "--opening", "2", "--history", "0", "40", "--seconds", "1.5"])
    rows = [line.split("|")[1:-1] for line in capsys.readouterr().out.splitlines() if line.startswith("|")][2:]
    assert [row[0].strip() for row in rows] == ["0", "40"]
    for row in rows:
        first_s, median_s, last_s = map(float, row[1:4])
        assert 0 <= first_s <= median_s <= last_s

"""What a service says to an operator who sets it up wrongly."""

from __future__ import annotations

import sys

import pytest

from moshi_cluster.services.codec.settings import PREFIX, CodecSettings
from moshi_cluster.services.common import main


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("MOSHI_CODEC_SLOTS", "0", "codec: MOSHI_CODEC_SLOTS: 0 is below 1\n"),
        ("MOSHI_CODEC_SLOT", "4", "codec: MOSHI_CODEC_SLOT: no such setting; known are MOSHI_CODEC_CHECKPOINT"),
    ],
)
def test_a_bad_setting_ends_the_program_with_one_line_before_anything_is_loaded(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], variable: str, value: str, message: str
) -> None:
    def never(*_: object) -> object:
        raise AssertionError("the service was made")

    monkeypatch.setenv(variable, value)
    monkeypatch.setattr(sys, "argv", ["codec"])
    assert main.run("codec", CodecSettings, PREFIX, never, lambda _: 1, lambda _: 1) == 2  # type: ignore[arg-type]
    problem = capsys.readouterr().err
    assert problem.startswith(message)
    assert problem.count("\n") == 1

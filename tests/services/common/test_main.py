"""What a service says to an operator who sets it up wrongly."""

from __future__ import annotations

import socket
import sys

import pytest

from moshi_cluster.services.codec.settings import PREFIX, CodecSettings
from moshi_cluster.services.common import main


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("MOSHI_CODEC_SLOTS", "0", "codec: MOSHI_CODEC_SLOTS: 0 is below 1\n"),
        ("--slot", "4", "codec: unrecognized arguments: --slot 4; --help lists the flags\n"),
        ("MOSHI_CODEC_SLOT", "4", "codec: MOSHI_CODEC_SLOT: no such setting; known are MOSHI_CODEC_ATTACHED"),
    ],
)
def test_a_bad_setting_ends_the_program_with_one_line_before_anything_is_loaded(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], variable: str, value: str, message: str
) -> None:
    def never(*_: object) -> object:
        raise AssertionError("the service was made")

    if variable.startswith("--"):
        monkeypatch.setattr(sys, "argv", ["codec", variable, value])
    else:
        monkeypatch.setenv(variable, value)
        monkeypatch.setattr(sys, "argv", ["codec"])
    assert main.run("codec", CodecSettings, PREFIX, never, lambda _: 1, lambda _: 1) == 2  # type: ignore[arg-type]
    problem = capsys.readouterr().err
    assert problem.startswith(message)
    assert problem.count("\n") == 1


@pytest.mark.usefixtures("root_as_before")
@pytest.mark.parametrize(
    ("host", "setting", "problem"),
    [
        ("127.0.0.1", "PORT", "cannot listen on 127.0.0.1:{}: the port is taken"),
        ("127.0.0.1", "METRICS_PORT", "cannot listen on 127.0.0.1:{}: the port is taken"),
        ("[::1]", "PORT", "cannot listen on [::1]:{}: the port is taken"),
        ("no.such.host.invalid", "HOST", "no.such.host.invalid is no address of this machine: "),
    ],
)
def test_an_address_that_cannot_be_had_ends_the_program_with_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], host: str, setting: str, problem: str
) -> None:
    def never(*_: object) -> object:
        raise AssertionError("the service was made")

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server(("::1" if ":" in host else "127.0.0.1", 0), family=family) as taken:
        port = taken.getsockname()[1]
        for name in ("PORT", "METRICS_PORT"):
            monkeypatch.setenv(f"MOSHI_CODEC_{name}", str(port) if name == setting else "0")
        monkeypatch.setenv("MOSHI_CODEC_HOST", host)
        monkeypatch.setattr(sys, "argv", ["codec"])
        assert main.run("codec", CodecSettings, PREFIX, never, lambda _: 1, lambda _: 1) == 2  # type: ignore[arg-type]
    said = capsys.readouterr().err
    assert said.startswith(f"codec: MOSHI_CODEC_{setting}: {problem.format(port)}")
    assert said.count("\n") == 1

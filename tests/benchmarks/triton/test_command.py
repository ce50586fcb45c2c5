"""What `make triton` says where there is no Triton to be had, and of what it finds; with a Triton, it is the test."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.online.report import HopLatency
from benchmarks.triton import __main__ as command
from benchmarks.triton import server
from benchmarks.triton.server import NoTriton, TritonServer, install


def test_where_the_wheel_cannot_be_installed_it_is_skipped_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise subprocess.CalledProcessError(1, ["pip"], stderr="WARNING: old\nERROR: No matching distribution found\n")

    monkeypatch.setattr(subprocess, "run", refuse)
    monkeypatch.setattr(command, "install", lambda: install(tmp_path / "triton"))
    monkeypatch.setattr(sys, "argv", ["benchmarks.triton"])
    assert command.main() == 0
    assert capsys.readouterr().out == (
        f"skipped: {server.WHEEL} could not be installed: ERROR: No matching distribution found\n"
    )


def test_a_wheel_without_a_backend_for_this_python_is_of_no_use(tmp_path: Path) -> None:
    (tmp_path / "pytriton").mkdir()
    with pytest.raises(NoTriton, match=f"no backend for Python {sys.version_info.major}.{sys.version_info.minor}"):
        install(tmp_path)


def test_a_server_that_ends_at_once_is_an_error_with_its_last_words(tmp_path: Path) -> None:
    installed = tmp_path / "installed"
    program = installed / "pytriton/tritonserver/bin/tritonserver"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = installed / "pytriton/tritonserver/python_backend_stubs" / version / "triton_python_backend_stub"
    for path in (program, stub, installed / "pytriton/tritonserver/backends/python/library.so"):
        path.parent.mkdir(parents=True)
        path.write_text("#!/bin/sh\necho no models here >&2\nexit 1\n")
        path.chmod(0o755)
    triton = TritonServer(installed, tmp_path / "models", tmp_path)
    triton.start()
    with pytest.raises(server.TritonFailed, match="tritonserver has ended:\n  no models here"):
        triton.wait_until_ready()
    triton.stop()


def test_what_triton_adds_is_the_difference_of_the_hops() -> None:
    torch = {"encode": HopLatency(10, 12.0, 30.0), "lm": HopLatency(10, 5.0, 6.0)}
    triton = {"encode": HopLatency(10, 14.5, 29.0)}
    _, _, *rows = command.table(torch, triton)
    assert [row.split() for row in rows] == [["encode", "12.0", "30.0", "14.5", "29.0", "+2.5", "-1.0"]]


def test_one_thing_that_does_not_hold_fails_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    verdict = command.Verdict()
    verdict.say(True, "this")
    assert not verdict.failed
    verdict.say(False, "that")
    verdict.say(True, "the rest")
    assert verdict.failed
    assert capsys.readouterr().out.split() == ["holds", "this", "FAILS", "that", "holds", "the", "rest"]

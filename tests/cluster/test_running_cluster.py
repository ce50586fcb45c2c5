"""How a program that holds a cluster ends."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterator

import pytest

from moshi_cluster.cluster.process import ClusterError
from moshi_cluster.cluster.running_cluster import (
    EXIT_BAD_SETTING,
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    exit_code,
    running_cluster,
)
from moshi_cluster.services.common.settings import SettingError

SIGNALS = (signal.SIGTERM, signal.SIGHUP)


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """The signals of this process are as before."""
    before = [signal.getsignal(number) for number in SIGNALS]
    yield
    for number, handler in zip(SIGNALS, before, strict=True):
        signal.signal(number, handler)


def failing(error: BaseException) -> Callable[[], int]:
    def program() -> int:
        raise error

    return program


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ClusterError("lm-0 ended"), EXIT_FAILED),
        (OSError("no such folder"), EXIT_FAILED),
        (SettingError("MOSHI_LM_SLOTS: 0 is below 1"), EXIT_BAD_SETTING),
    ],
)
def test_a_failure_is_said_in_one_line(error: Exception, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(failing(error)) == code
    assert capsys.readouterr().err == f"error: {error}\n"


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_stops_the_program_as_ctrl_c_does(number: signal.Signals) -> None:
    def program() -> int:
        os.kill(os.getpid(), number)
        signal.pause()
        return 0

    assert exit_code(program) == EXIT_INTERRUPTED


def test_a_program_that_is_to_outlive_its_terminal_does() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does

    def program() -> int:
        os.kill(os.getpid(), signal.SIGHUP)
        return 0

    assert exit_code(program) == 0


def test_a_checkpoint_that_is_not_there_is_named_before_anything_starts(capsys: pytest.CaptureFixture[str]) -> None:
    def program() -> int:
        with running_cluster("/no/such/folder"):
            return 0

    assert exit_code(program) == EXIT_FAILED
    told = capsys.readouterr().err
    assert "error: checkpoint '/no/such/folder' is neither an existing folder nor a repository" in told
    assert "starting" not in told


def test_a_port_that_is_taken_is_named_before_anything_is_downloaded(capsys: pytest.CaptureFixture[str]) -> None:
    def program() -> int:
        with running_cluster("owner/of-15-gigabytes", environment={"MOSHI_GATEWAY_HTTP_PORT": str(port)}):
            return 0

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert exit_code(program) == EXIT_BAD_SETTING
    problem = f"MOSHI_GATEWAY_HTTP_PORT: cannot listen on 127.0.0.1:{port}: the port is taken"
    assert capsys.readouterr().err == f"error: {problem}\n"

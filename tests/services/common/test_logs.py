"""Lines of a service: what they say, and what they never say."""

from __future__ import annotations

import logging
import os
import sys
import threading
from pathlib import Path

import pytest

from moshi_cluster.services.common.logs import LogHandler, OneLineFormatter, logging_to_stderr

_SECRET = "the-callers-token"
_OWN = "moshi_cluster.services.common.worker.engine"
_API = "moshi_cluster.services.gateway.api.websocket.handler"


class Lines:
    """What a handler hands on, and what it drops."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.lines: list[str] = []
        self.dropped: list[str] = []
        self.handler = LogHandler(OneLineFormatter("lm"), self.lines.append, self.dropped.append, lambda: self.now_s)

    def logger(self, name: str) -> logging.Logger:
        """A logger that logs here alone."""
        logger = logging.Logger(name)
        logger.addHandler(self.handler)
        return logger


@pytest.fixture
def lines() -> Lines:
    return Lines()


def test_a_line_has_level_service_logger_and_message(lines: Lines) -> None:
    lines.logger(_OWN).warning("slots used=%d", 3)
    (line,) = lines.lines
    assert line.endswith(f" WARNING lm {_OWN} slots used=3\n")


def test_a_line_is_one_line(lines: Lines) -> None:
    lines.logger(_OWN).error("cannot load: one\ntwo")
    assert lines.lines[0].endswith("cannot load: one | two\n")
    assert lines.lines[0].count("\n") == 1


def raise_and_log(logger: logging.Logger, message: str, *fields: object) -> None:
    try:
        raise ValueError(f"cannot read {_SECRET}")
    except ValueError:
        logger.exception(message, *fields)


def test_what_an_engine_died_of_is_logged_with_its_text_and_place(lines: Lines) -> None:
    raise_and_log(lines.logger(_OWN), "engine failed")
    (line,) = lines.lines
    assert line.count("\n") == 1
    assert "test_logs.py" in line
    assert f"ValueError: cannot read {_SECRET}" in line


@pytest.mark.parametrize("name", ["grpc._cython.cygrpc", "aiohttp.server", "asyncio", _API])
def test_at_the_edge_an_exceptions_text_stays_out_and_its_place_is_logged(lines: Lines, name: str) -> None:
    raise_and_log(lines.logger(name), "a connection failed")
    (line,) = lines.lines
    assert _SECRET not in line
    assert "a connection failed | ValueError at " in line
    assert "test_logs.py" in line
    assert "raise_and_log" in line


def test_what_a_library_puts_into_its_message_stays_out(lines: Lines) -> None:
    raise_and_log(lines.logger("grpc._cython.cygrpc"), "Invalid encoding on %s", _SECRET.encode())
    lines.logger("asyncio").error(f"Task exception was never retrieved\nfuture: {_SECRET}")
    assert _SECRET not in "".join(lines.lines)
    assert "Invalid encoding on %s" in lines.lines[0]


def test_a_flood_of_failures_is_counted_and_told_with_the_next_one(lines: Lines) -> None:
    logger = lines.logger("grpc._cython.cygrpc")
    for now_s in [0.0] * 1000 + [60.0]:
        lines.now_s = now_s
        logger.error("Invalid encoding on %s", "x")
    assert len(lines.lines) == 11
    assert lines.dropped == ["repeated"] * 990
    assert lines.lines[-1].endswith("Invalid encoding on %s (990 more like it are not shown)\n")


def test_a_line_that_cannot_be_made_is_counted_and_never_thrown(lines: Lines) -> None:
    lines.logger(_OWN).warning("slots used=%d", "three")
    assert lines.lines == []
    assert lines.dropped == ["failed"]


# --- stderr itself


@pytest.mark.usefixtures("root_as_before")
def test_lines_and_prints_reach_stderr_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (tmp_path / "stderr").open("w") as stderr:
        monkeypatch.setattr(sys, "stderr", stderr)
        with logging_to_stderr(OneLineFormatter("codec"), "info", lambda why: None):
            logging.getLogger(_OWN).info("first")
            print("loading mimi", file=sys.stderr)
            logging.getLogger(_OWN).debug("not at this level")
            assert not sys.stderr.isatty()
        assert sys.stderr is stderr
    first, second = (tmp_path / "stderr").read_text().splitlines()
    assert first.endswith(f" INFO codec {_OWN} first")
    assert second == "loading mimi"


@pytest.mark.usefixtures("root_as_before")
@pytest.mark.parametrize("path", ["/dev/full", None])
def test_a_stderr_that_takes_nothing_stops_nobody(path: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    dropped: list[str] = []
    stderr = open(path, "w") if path else None  # noqa: SIM115 - closed below, where that must not raise
    monkeypatch.setattr(sys, "stderr", stderr)
    with logging_to_stderr(OneLineFormatter("codec"), "info", dropped.append):
        logging.getLogger(_OWN).info("a line")
        print("loading", file=sys.stderr, end="")
    assert dropped == ["failed", "failed"]
    if stderr is not None:
        stderr.close()


@pytest.mark.usefixtures("root_as_before")
def test_a_pipe_that_nobody_reads_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    dropped: list[str] = []
    with os.fdopen(writer, "w") as stderr:
        monkeypatch.setattr(sys, "stderr", stderr)
        with logging_to_stderr(OneLineFormatter("codec"), "info", dropped.append):
            logger = logging.getLogger(_OWN)
            for _ in range(150):
                logger.info("x" * 4000)  # nine times what a pipe holds
        assert [thread.name for thread in threading.enumerate()].count("log writer") == 1  # it stands still, alone
        assert dropped == []  # they wait
        os.close(reader)  # ends the thread's write

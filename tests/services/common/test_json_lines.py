"""Log lines as JSON: one object a line, with the figures of its message, and nothing more than the text would show."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path
from typing import Any

import pytest

from moshi_cluster.services.common import json_lines
from moshi_cluster.services.common.json_lines import JsonFormatter
from moshi_cluster.services.common.logs import LogHandler
from moshi_cluster.services.common.session_id import SESSION_ID

SERVICES = Path(__file__).parents[3] / "services"


class Log:
    """A logger whose lines are read back."""

    def __init__(self, name: str = "moshi_cluster.services.lm.test") -> None:
        self.lines: list[str] = []
        self.logger = logging.Logger(name)
        self.logger.addHandler(LogHandler(JsonFormatter("lm"), self.lines.append, self.lines.append, lambda: 0.0))

    @property
    def last(self) -> Any:
        return json.loads(self.lines[-1])


def test_figures_of_a_message_are_fields() -> None:
    log = Log()
    log.logger.info("call over session=%s length_s=%.1f of %d%% moves=%d", "5e55", 1.25, 90, 2)
    event = log.last
    assert event["message"] == "call over session=5e55 length_s=1.2 of 90% moves=2"
    assert (event["session"], event["length_s"], event["moves"]) == ("5e55", 1.25, 2)
    assert (event["level"], event["service"], event["logger"]) == ("INFO", "lm", "moshi_cluster.services.lm.test")


def test_a_line_is_one_line_and_its_fields_are_its_own() -> None:
    log = Log()
    log.logger.warning("two\nlines level=%s", "not the level")
    assert log.lines[-1].count("\n") == 1
    assert (log.last["message"], log.last["level"]) == ("two\nlines level=not the level", "WARNING")


def test_no_line_of_the_services_has_a_figure_whose_name_is_taken() -> None:
    taken = re.compile(rf"\b({'|'.join(json_lines._OWN)})=%")
    assert not [path.name for path in SERVICES.rglob("*.py") if taken.search(path.read_text())], "missing in JSON"


def test_an_exception_is_a_field() -> None:
    log = Log()
    try:
        raise ValueError("of the engine")
    except ValueError:
        log.logger.exception("failed")
    assert log.last["exception"].endswith("ValueError: of the engine")


@pytest.mark.parametrize("name", ["grpc._cython", "aiohttp.server"])
def test_what_strangers_send_is_in_no_field(name: str) -> None:
    log = Log(name)
    log.logger.error("bad request from=%s", "secret")
    assert "secret" not in log.lines[-1]


def test_the_session_of_the_task_is_on_its_lines_and_on_no_others() -> None:
    log = Log()
    token = SESSION_ID.set("5e55")
    log.logger.info("a step failed")
    SESSION_ID.reset(token)
    assert log.last["session"] == "5e55"
    log.logger.info("a step went well")
    assert "session" not in log.last


def test_what_is_printed_is_an_object_and_a_blank_is_nothing() -> None:
    formatter = JsonFormatter("lm")
    event = json.loads(formatter.printed("loading 5 of 5 MB, 100% done"))
    assert (event["message"], event["logger"]) == ("loading 5 of 5 MB, 100% done", "stderr")
    assert formatter.printed("\n") == ""


def test_how_many_were_held_back_is_a_field() -> None:
    now_s, lines = [0.0], []
    handler = LogHandler(JsonFormatter("lm"), lines.append, lambda why: None, lambda: now_s[0])
    record = logging.makeLogRecord({"name": "moshi_cluster.x", "msg": "again", "levelname": "INFO"})
    for _ in range(210):
        handler.emit(record)
    now_s[0] = 10.0
    handler.emit(record)
    assert json.loads(lines[-1])["held_back"] == 10

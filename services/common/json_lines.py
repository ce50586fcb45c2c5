"""JSON log lines: an object for each event, with the figures of its message as fields of their own."""

from __future__ import annotations

import datetime
import json
import logging
import re
from typing import Any

from moshi_cluster.services.common.logs import OneLineFormatter, shown_only
from moshi_cluster.services.common.session_id import SESSION_ID

_MOST_EXCEPTION_CHARACTERS = 8000  # what is longer than a line may be would be cut, and no JSON any more
_MOST_MESSAGE_CHARACTERS = 4000
_PLACE = re.compile(r"(?:(\w+)=)?%[-#0+ ]*\d*(?:\.\d+)?([a-zA-Z%])")
_OWN = ("time", "level", "service", "logger", "message", "exception", "held_back")


class JsonFormatter(OneLineFormatter):
    """Fields: time, level, service, logger, message, session, exception, held_back, and each `name=` of the message."""

    def line(self, record: logging.LogRecord, held_back: int = 0) -> str:
        """The record's line. held_back: how many more like it are not shown."""
        record = shown_only(record)
        event: dict[str, Any] = {
            "time": datetime.datetime.fromtimestamp(record.created, datetime.UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "service": self._service,
            "logger": record.name,
            "message": record.getMessage()[:_MOST_MESSAGE_CHARACTERS],
        }
        if session_id := SESSION_ID.get():
            event["session"] = session_id
        event |= {name: value for name, value in _figures(record).items() if name not in _OWN}
        if record.exc_info and record.exc_info[0] is not None:
            text = record.exc_text or self.formatException(record.exc_info)
            event["exception"] = text[-_MOST_EXCEPTION_CHARACTERS:]
        if held_back:
            event["held_back"] = held_back
        return json.dumps(event, ensure_ascii=False, default=str)

    def printed(self, text: str) -> str:
        """A line that is an object, too; nothing of what is blank, as the end of a line that was printed."""
        fields = {"name": "stderr", "levelname": "INFO", "msg": "%s", "args": (text.strip(),)}
        return f"{self.line(logging.makeLogRecord(fields))}\n" if text.strip() else ""


def _figures(record: logging.LogRecord) -> dict[str, Any]:
    """What stands behind each `name=` of the message, numbers as numbers."""
    arguments = record.args if isinstance(record.args, tuple) else ()
    places = [name for name, kind in _PLACE.findall(str(record.msg)) if kind != "%"]
    if len(places) != len(arguments):
        return {}
    return {
        name: value if isinstance(value, int | float) else str(value)
        for name, value in zip(places, arguments, strict=True)
        if name
    }

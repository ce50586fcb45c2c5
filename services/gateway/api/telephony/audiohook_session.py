"""Messages of an AudioHook session: JSON texts, numbered on both sides, each naming what it has of the other's."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from moshi_cluster.services.common.errors import InvalidInput
from moshi_cluster.services.gateway.api.telephony.fields import json_object, number, section, text

NO_ID = "00000000-0000-0000-0000-000000000000"
_VERSION = "2"
_ID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_DURATION = re.compile(r"PT((?:[0-9]{0,9}\.)?[0-9]{1,9})S")


class AudioHookSession:
    """The numbers and the id of one session."""

    def __init__(self, session_id: str | None) -> None:
        """session_id: that the request named, if it did; else the first message names it."""
        self.id = session_id
        self._sent = self._received = 0

    def read(self, message: str) -> tuple[str, Mapping[str, Any]]:
        """A message's type and parameters. Raises InvalidInput naming what is wrong or out of order."""
        fields = json_object(message)
        if fields.get("version") != _VERSION:
            raise InvalidInput("version", f"must be {_VERSION}")
        session_id = identity(fields, "id", "id")
        self.id = self.id or session_id
        if session_id != self.id:
            raise InvalidInput("id", "must be that of the session")
        kind, parameters = text(fields, "type", "type"), section(fields, "parameters")
        duration_ms(fields, "position", "position")
        self._count(number(fields, "seq", "seq"), number(fields, "serverseq", "serverseq"))
        return kind, parameters

    def write(self, kind: str, **parameters: object) -> str:
        """The next message: to be sent before another one is written."""
        self._sent += 1
        message = {
            "version": _VERSION,
            "type": kind,
            "seq": self._sent,
            "clientseq": self._received,
            "id": self.id or NO_ID,  # of a client that never named it
            "parameters": parameters,
        }
        return json.dumps(message, separators=(",", ":"))

    def _count(self, seq: int, serverseq: int) -> None:
        if seq != self._received + 1:
            raise InvalidInput("seq", "must be one more than the last")
        if serverseq > self._sent:
            raise InvalidInput("serverseq", "names a message that was not sent")
        self._received = seq


def identity(fields: Mapping[str, Any], name: str, field: str) -> str:
    """A UUID, in small letters. Raises InvalidInput."""
    value = text(fields, name, field)
    if not _ID.fullmatch(value):
        raise InvalidInput(field, "must be a UUID")
    return value.lower()


def duration_ms(fields: Mapping[str, Any], name: str, field: str) -> float:
    """A duration as PT1.25S. Raises InvalidInput."""
    match = _DURATION.fullmatch(text(fields, name, field))
    if match is None:
        raise InvalidInput(field, "must be a duration in seconds, such as PT1.25S")
    return float(match[1]) * 1000

"""The queue of Asterisk's chan_websocket, simulated: what it keeps, plays, throws away and says, tick by tick.

After channels/chan_websocket.c of Asterisk 22.9: handle_command, process_binary_message, dequeue_frame.
"""

from __future__ import annotations

import json
from collections import deque
from typing import Any

QUEUE_MOST, XOFF_LEVEL, XON_LEVEL = 1000, 900, 800
MOST_COMMAND_BYTES, MOST_MESSAGE_BYTES = 128, 65_500
_WITH_ID = {"MARK_MEDIA", "STOP_MEDIA_BUFFERING"}
_COMMANDS = _WITH_ID | {
    *("ANSWER", "HANGUP", "START_MEDIA_BUFFERING", "FLUSH_MEDIA", "GET_STATUS", "REPORT_QUEUE_DRAINED"),
    *("PAUSE_MEDIA", "CONTINUE_MEDIA", "SET_MEDIA_DIRECTION"),
}


class AsteriskQueue:
    """Frames of one channel on their way to its caller. Whatever Asterisk would ignore or cut is an AssertionError."""

    def __init__(self, frame_bytes: int, is_json: bool = True) -> None:
        self.events: list[str] = []
        """To be sent, oldest first; whoever sends them empties it."""
        self.commands: list[str] = []
        """Names of the commands that came."""
        self.is_answered = self.is_hung_up = False
        self.frame_bytes = frame_bytes
        self._is_json = is_json
        self._queue: deque[bytes | str] = deque()  # frames, and events that wait for those before them
        self._is_full = self._is_paused = self._reports_drained = False

    @property
    def length(self) -> int:
        """Frames that wait."""
        return sum(isinstance(item, bytes) for item in self._queue)

    def take(self, message: str | bytes) -> None:
        """A message of the application."""
        assert not self.is_hung_up, "Asterisk has hung up"
        if isinstance(message, bytes):
            self._take_media(message)
        else:
            self._take_command(message)

    def tick(self) -> bytes | None:
        """The frame that goes to the caller now, 20 ms after the one before; None for none."""
        if self._is_paused:
            return None
        if self._is_full and self.length < XON_LEVEL:
            self._is_full = False
            self._say("MEDIA_XON")
        if not self._queue:
            if self._reports_drained:
                self._reports_drained = False
                self._say("QUEUE_DRAINED")
            return None
        while self._queue:
            item = self._queue.popleft()
            if isinstance(item, bytes):
                return item
            self.events.append(item)
        return None

    def _take_media(self, data: bytes) -> None:
        assert 0 < len(data) <= MOST_MESSAGE_BYTES, "Asterisk closes the connection"
        assert len(data) % self.frame_bytes == 0, "Asterisk throws the rest of a frame away"
        assert self.length < QUEUE_MOST, "Asterisk throws the message away"
        for start in range(0, len(data), self.frame_bytes):
            self._queue.append(data[start : start + self.frame_bytes])
            if not self._is_full and self.length >= XOFF_LEVEL:
                self._is_full = True
                self._say("MEDIA_XOFF")

    def _take_command(self, text: str) -> None:
        assert 0 < len(text.encode()) <= MOST_COMMAND_BYTES, "Asterisk ignores the command"
        name, identity = self._read(text)
        assert name in _COMMANDS, f"Asterisk knows no {name}"
        self.commands.append(name)
        if name == "ANSWER":
            self.is_answered = True
        elif name == "HANGUP":
            self.is_hung_up = True
        elif name == "FLUSH_MEDIA":
            self._queue.clear()
        elif name == "MARK_MEDIA":
            self._queue.append(self._event("MEDIA_MARK_PROCESSED", correlation_id=identity))
        elif name == "REPORT_QUEUE_DRAINED":
            self._reports_drained = True
        elif name in ("PAUSE_MEDIA", "CONTINUE_MEDIA"):
            self._is_paused = name == "PAUSE_MEDIA"
        elif name == "GET_STATUS":
            self._say_status()
        else:
            raise AssertionError(f"{name} is not simulated")

    def _read(self, text: str) -> tuple[str, str]:
        if not self._is_json:
            name, _, identity = text.partition(" ")
            assert not identity or name in _WITH_ID
            return name, identity
        fields = json.loads(text)
        assert fields.keys() <= {"command", "correlation_id"}
        assert "correlation_id" not in fields or fields["command"] in _WITH_ID
        return fields["command"], fields.get("correlation_id", "")

    def _say_status(self) -> None:
        booleans = {"queue_full": self._is_full, "bulk_media": False, "media_paused": self._is_paused}
        levels = {"queue_length": self.length, "xon_level": XON_LEVEL, "xoff_level": XOFF_LEVEL}
        self._say("STATUS", **levels, **booleans)

    def _say(self, name: str, **parameters: Any) -> None:
        self.events.append(self._event(name, **parameters))

    def _event(self, name: str, **parameters: Any) -> str:
        if self._is_json:
            return json.dumps({"event": name, "channel_id": "1795735449.20", **parameters}, separators=(",", ":"))
        if "correlation_id" in parameters:
            return f"{name} {parameters['correlation_id']}".rstrip()
        parts = [f"{key}:{str(value).lower()}" for key, value in parameters.items()]
        return " ".join([name, *(["channel_id:1795735449.20"] if parts else []), *parts])

"""Session id of the call that a task works for, so that lines of all three services lead to one call."""

from __future__ import annotations

import re
from contextvars import ContextVar

SESSION_ID: ContextVar[str] = ContextVar("session_id", default="")
"""Set for a call's or session's task, and so for those that it starts; empty elsewhere. Opens nothing to anybody."""
_SESSION_ID = re.compile(r"[\w-]{1,64}", re.ASCII)


def known_session_id(text: str) -> str:
    """A session id as another process tells it; empty for what is none."""
    return text if _SESSION_ID.fullmatch(text) else ""

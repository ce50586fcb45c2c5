"""Everything that can go wrong with a session, as one tree.

    SessionError            INTERNAL
    +-- InvalidInput        INVALID_ARGUMENT
    +-- NoFreeSlot          RESOURCE_EXHAUSTED, with a hint when to try again
    +-- OverQuota           RESOURCE_EXHAUSTED
    +-- Unauthenticated     UNAUTHENTICATED
    +-- Unavailable         UNAVAILABLE, with a hint where it is known when to try again
    |   +-- Draining        UNAVAILABLE
    +-- CallerLost          CANCELLED
    +-- LimitReached        DEADLINE_EXCEEDED
    +-- EngineFailed        INTERNAL

Beside each stands the gRPC status that its peer sees. Engines and sessions raise these without knowing gRPC; at the
edges `rpc.statuses` and the stream multiplexer translate them.
"""

from __future__ import annotations

from google.protobuf.message import DecodeError


class SessionError(Exception):
    """A session cannot go on."""

    status = "INTERNAL"
    retry_after_ms: int | None = None
    """When its peer may try again; None where that is not known."""


class InvalidInput(SessionError):
    """A message is malformed; the text begins with the field's name."""

    status = "INVALID_ARGUMENT"

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field


class NoFreeSlot(SessionError):
    """Every slot is taken; try again after `retry_after_ms`."""

    status = "RESOURCE_EXHAUSTED"

    def __init__(self, problem: str, retry_after_ms: int = 1000) -> None:
        super().__init__(problem)
        self.retry_after_ms = retry_after_ms


class OverQuota(SessionError):
    """The client asks for more than one client may have."""

    status = "RESOURCE_EXHAUSTED"


class Unauthenticated(SessionError):
    """The caller shows no credentials, or wrong ones."""

    status = "UNAUTHENTICATED"


class Unavailable(SessionError):
    """This process is draining, cannot reach a worker or has lost it; another one may serve."""

    status = "UNAVAILABLE"

    def __init__(self, problem: str, retry_after_ms: int | None = None) -> None:
        super().__init__(problem)
        self.retry_after_ms = retry_after_ms


class Draining(Unavailable):
    """This process takes no new sessions because it is about to stop."""


class CallerLost(SessionError):
    """The caller's connection is gone, or they left before the session was up."""

    status = "CANCELLED"


class LimitReached(SessionError):
    """A limit of the session (idle, total length, slo) was passed."""

    status = "DEADLINE_EXCEEDED"


class EngineFailed(SessionError):
    """The engine broke; the process is about to exit."""

    status = "INTERNAL"


def session_error(error: Exception) -> SessionError | None:
    """What an exception, alone or a group of groups, says to the session's peer; None for what is our own fault."""
    if isinstance(error, ExceptionGroup):
        parts = [session_error(part) for part in error.exceptions]
        return None if None in parts else parts[0]
    if isinstance(error, DecodeError):  # a message's bytes are read when a handler asks for it
        return InvalidInput("message", "is not of the rpc's type")
    return error if isinstance(error, SessionError) else None

"""Everything that can go wrong with a session, as one tree.

    SessionError            INTERNAL
    +-- InvalidInput        INVALID_ARGUMENT
    +-- NoFreeSlot          RESOURCE_EXHAUSTED, with a hint when to try again
    +-- OverQuota           RESOURCE_EXHAUSTED
    +-- Unauthenticated     UNAUTHENTICATED
    +-- Unavailable         UNAVAILABLE, with a hint where it is known when to try again
    |   +-- Draining        UNAVAILABLE
    +-- CannotResume        NOT_FOUND
    +-- NoSuchCall          NOT_FOUND
    +-- TakenOver           ABORTED
    +-- CallerLost          CANCELLED
    +-- LimitReached        DEADLINE_EXCEEDED
    +-- Unsupported         UNIMPLEMENTED
    +-- EngineFailed        INTERNAL

Beside each stands the gRPC status that its peer sees. Engines and sessions raise these without knowing gRPC; at the
edges `rpc.statuses` and the stream multiplexer translate them.

Their texts are stable: what counts errors groups them by text. A figure that differs from one call or gateway to the
next is given beside the text, by name.
"""

from __future__ import annotations

from collections.abc import Iterator

from google.protobuf.message import DecodeError


class SessionError(Exception):
    """A session cannot go on."""

    status = "INTERNAL"
    reason = "FAILED"
    """For programs, finer than the status."""
    retry_after_ms: int | None = None
    """When its peer may try again; None where that is not known."""

    def __init__(self, problem: str, **figures: float | str) -> None:
        """problem: a stable text. figures: what differs, by name, with its unit."""
        super().__init__(problem)
        self.figures = {name: _written(value) for name, value in figures.items()}


class InvalidInput(SessionError):
    """A message is malformed; the text begins with the field's name."""

    status = "INVALID_ARGUMENT"
    reason = "INVALID_INPUT"

    def __init__(self, field: str, problem: str, **figures: float | str) -> None:
        super().__init__(f"{field}: {problem}", field=field, **figures)
        self.field = field


class NoFreeSlot(SessionError):
    """Every slot is taken; try again after `retry_after_ms`."""

    status = "RESOURCE_EXHAUSTED"
    reason = "NO_FREE_SLOT"

    def __init__(self, problem: str, retry_after_ms: int = 1000, **figures: float | str) -> None:
        super().__init__(problem, **figures)
        self.retry_after_ms = retry_after_ms


class OverQuota(SessionError):
    """The client asks for more than one client may have."""

    status = "RESOURCE_EXHAUSTED"

    def __init__(self, problem: str, reason: str, retry_after_ms: int | None = None, **figures: float | str) -> None:
        """reason: of those that the contract lists at Converse."""
        super().__init__(problem, **figures)
        self.reason = reason
        self.retry_after_ms = retry_after_ms


class Unauthenticated(SessionError):
    """The caller shows no credentials, or wrong ones."""

    status = reason = "UNAUTHENTICATED"


class Unavailable(SessionError):
    """This process is draining, cannot reach a worker or has lost it; another one may serve."""

    status = reason = "UNAVAILABLE"

    def __init__(self, problem: str, retry_after_ms: int | None = None) -> None:
        super().__init__(problem)
        self.retry_after_ms = retry_after_ms


class Draining(Unavailable):
    """This process takes no new sessions because it is about to stop."""

    reason = "DRAINING"


class CannotResume(SessionError):
    """The conversation that the caller comes back for cannot go on here."""

    status = "NOT_FOUND"

    def __init__(self, problem: str, reason: str) -> None:
        """reason: of those that the contract lists at Converse."""
        super().__init__(problem)
        self.reason = reason


class NoSuchCall(SessionError):
    """The call that is to be controlled is not here (any more)."""

    status = "NOT_FOUND"
    reason = "NO_SUCH_CALL"


class TakenOver(SessionError):
    """Another connection goes on with the conversation."""

    status = "ABORTED"
    reason = "CONVERSATION_TAKEN"


class CallerLost(SessionError):
    """The caller's connection is gone, or they left before the session was up."""

    status = "CANCELLED"
    reason = "CALLER_LOST"


class LimitReached(SessionError):
    """A limit of the session (idle, total length, slo) was passed."""

    status = "DEADLINE_EXCEEDED"
    reason = "LIMIT_REACHED"


class Unsupported(SessionError):
    """The caller's transport has no such command."""

    status = "UNIMPLEMENTED"
    reason = "UNSUPPORTED"


class EngineFailed(SessionError):
    """The engine broke; the process is about to exit."""

    status = "INTERNAL"
    reason = "ENGINE_FAILED"


def _kinds(kind: type[SessionError]) -> Iterator[type[SessionError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from _kinds(below)


STATUSES = tuple(sorted({kind.status for kind in _kinds(SessionError)}))
"""Every gRPC status that a session may end with, but OK."""


def session_error(error: Exception) -> SessionError | None:
    """What an exception, alone or a group of groups, says to the session's peer; None for what is our own fault."""
    if isinstance(error, ExceptionGroup):
        parts = [session_error(part) for part in error.exceptions]
        return None if None in parts else parts[0]
    if isinstance(error, DecodeError):  # a message's bytes are read when a handler asks for it
        return InvalidInput("message", "is not of the rpc's type")
    return error if isinstance(error, SessionError) else None


def _written(value: float | str) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)

"""Everything that can go wrong with a session, as one tree.

The leaf's `status` is the gRPC status a caller sees; `services.common.rpc` does the translation, so that engines and
sessions raise these without knowing gRPC.
"""

from __future__ import annotations


class SessionError(Exception):
    """A session cannot go on."""

    status = "INTERNAL"


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
    """This process is draining or cannot reach a worker; another one may serve."""

    status = "UNAVAILABLE"


class Draining(Unavailable):
    """This process takes no new sessions because it is about to stop."""


class CallerLost(SessionError):
    """The caller's connection is gone, or he left before the session was up."""

    status = "CANCELLED"


class LimitReached(SessionError):
    """A limit of the session (idle, total length, slo) was passed."""

    status = "DEADLINE_EXCEEDED"


class EngineFailed(SessionError):
    """The engine broke; the process is about to exit."""

    status = "INTERNAL"

"""What the tests of the services share."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture
def nothing_swallowed(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fails a test in which asyncio or gRPC logged an exception that nobody caught."""
    yield
    records = [record for phase in ("setup", "call") for record in caplog.get_records(phase)]
    swallowed = [
        record.getMessage()
        for record in records
        if record.name.startswith(("asyncio", "grpc")) and record.levelname in ("ERROR", "CRITICAL")
        if not _is_left_over(record)
    ]
    if swallowed:
        pytest.fail("logged and lost: " + "; ".join(swallowed))


def _is_left_over(record: logging.LogRecord) -> bool:
    """All event loops of a process share gRPC's completion queue: a loop may get what was meant for the one before. And
    who reads on while a test's server ends is told so by an error that gRPC logs itself.
    """
    kind, error = record.exc_info[:2] if record.exc_info else (None, None)
    if isinstance(error, BaseExceptionGroup) and error.subgroup(_is_stopped) is not None:
        return error.split(_is_stopped)[1] is None
    return "PollerCompletionQueue" in record.getMessage() and kind in (BlockingIOError, RuntimeError)


def _is_stopped(error: BaseException) -> bool:
    return type(error).__name__ == "_ServerStoppedError"

"""What the tests of the services share."""

from __future__ import annotations

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
    ]
    if swallowed:
        pytest.fail("logged and lost: " + "; ".join(swallowed))

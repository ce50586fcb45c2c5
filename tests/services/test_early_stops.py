"""SIGTERM before a service serves: whatever is half done, the process ends."""

from __future__ import annotations

import signal
import time

import pytest

from benchmarks.stops.__main__ import PATIENCE_S, SERVICES, running
from benchmarks.stops.silent_hub import SilentHub

STOPPED = (0, -signal.SIGTERM)


@pytest.mark.parametrize("after_s", [0.0, 0.2])
@pytest.mark.parametrize("service", SERVICES)
def test_a_service_that_has_just_been_started_stops_when_it_is_told_to(service: str, after_s: float) -> None:
    with running(service, {}) as process:
        time.sleep(after_s)
        process.terminate()
        assert process.wait(PATIENCE_S) in STOPPED


@pytest.mark.parametrize("service", ["codec", "lm"])
def test_a_download_that_never_ends_does_not_keep_a_worker_from_stopping(service: str) -> None:
    with SilentHub() as hub, running(service, hub.environment(f"MOSHI_{service.upper()}_HF_REPO")) as process:
        hub.wait_until_asked(PATIENCE_S)
        process.terminate()
        _, log = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, log
    assert "Traceback" not in log

"""`python -m benchmarks.stops`: SIGTERM soon after a start, in the middle of a load and of a download.

Prints how long each service still took to end, and its exit code: 0, or 143 (a negative 15 here) where the signal came
before the program could take it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from benchmarks.columns import columns
from benchmarks.machine import machine
from benchmarks.stops.silent_hub import SilentHub
from moshi_cluster.cluster.default_checkpoint import DEFAULT_CHECKPOINT
from moshi_cluster.cluster.ports import LOOPBACK

SERVICES = ("gateway", "codec", "lm")
AFTER_MS = (0, 50, 200, 1000)
PATIENCE_S = 60.0


def main() -> None:
    """Measures and prints a table."""
    print(json.dumps(machine()))
    rows = [["service", "SIGTERM", "ended after ms", "exit code"]]
    for service in SERVICES:
        rows += [[service, f"{ms} ms after start", *stopped(service, ms)] for ms in AFTER_MS]
        rows += [[service, "once it listens, before it serves", *stopped_at(service, "listening ")]]
        if service != "gateway":
            rows += [[service, "in the middle of a download", *stopped_in_a_download(service)]]
        rows += [[service, "once it serves", *stopped_at(service, "serving ")]] if service != "gateway" else []
    print(columns(rows))


def stopped(service: str, after_ms: int) -> tuple[str, str]:
    """Milliseconds until it had ended, and its exit code."""
    with running(service, {}) as process:
        time.sleep(after_ms / 1000)
        return ended(process)


def stopped_at(service: str, logged: str) -> tuple[str, str]:
    """The same, once a line of its log has this text."""
    with running(service, {}) as process:
        wait_for_line(process, logged)
        return ended(process)


def stopped_in_a_download(service: str) -> tuple[str, str]:
    """The same, from a hub that takes connections and never answers."""
    with SilentHub() as hub, running(service, hub.environment(f"MOSHI_{service.upper()}_HF_REPO")) as process:
        hub.wait_until_asked(PATIENCE_S)
        return ended(process)


@contextmanager
def running(service: str, variables: Mapping[str, str]) -> Iterator[subprocess.Popen[str]]:
    """A service with the demo model, unless variables say something else."""
    prefix = f"MOSHI_{service.upper()}_"
    ports = {f"{prefix}HOST": LOOPBACK, f"{prefix}PORT": "0", f"{prefix}METRICS_PORT": "0"}
    own = {f"{prefix}HTTP_PORT": "0"} if service == "gateway" else {f"{prefix}CHECKPOINT": str(DEFAULT_CHECKPOINT)}
    command = [sys.executable, "-m", f"moshi_cluster.services.{service}"]
    environment = {**os.environ, **ports, **own, **variables}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_for_line(process: subprocess.Popen[str], text: str) -> None:
    """Reads the log up to a line with `text`."""
    assert process.stderr is not None
    for line in process.stderr:
        if f" {text}" in line:
            return
    raise RuntimeError(f"{text!r} was never logged")


def ended(process: subprocess.Popen[str]) -> tuple[str, str]:
    """Sends SIGTERM and waits."""
    sent_s = time.monotonic()
    process.send_signal(signal.SIGTERM)
    code = process.wait(PATIENCE_S)
    return f"{(time.monotonic() - sent_s) * 1000:.0f}", str(code)


if __name__ == "__main__":
    main()

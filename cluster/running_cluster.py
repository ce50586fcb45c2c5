"""A cluster that somebody waits for: found checkpoint, started services, orderly stop, with lines for people."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from moshi_cluster.cluster.default_checkpoint import DEFAULT_CHECKPOINT
from moshi_cluster.cluster.local_cluster import ClusterError, Layout, LocalCluster
from moshi_cluster.models.loading import CheckpointError, resolve

EXIT_FAILED, EXIT_INTERRUPTED = 1, 130
_START_TIMEOUT_S = 600.0  # 15 GB from a slow disk
_SLOTS = 2  # a connection that was lost may hold one a little longer


def exit_code(program: Callable[[], int]) -> int:
    """Runs a program that holds a cluster: SIGTERM and SIGHUP stop it as Ctrl-C does, failures are said, not thrown."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        return program()
    except (CheckpointError, ClusterError, OSError, subprocess.TimeoutExpired) as error:
        say(f"error: {error}")
        return EXIT_FAILED
    except KeyboardInterrupt:
        say("interrupted, everything is stopped")
        return EXIT_INTERRUPTED


@contextmanager
def running_cluster(
    checkpoint: str | None,
    logs: Path | None = None,
    environment: Mapping[str, str] | None = None,
    slots: int = _SLOTS,
) -> Iterator[LocalCluster]:
    """One process of each service, serving until the context is left. checkpoint: None for the default one.

    logs, environment: of LocalCluster. Raises ClusterError, CheckpointError, OSError.
    """
    cluster = LocalCluster(Layout(_found(checkpoint), slots=slots), environment, logs)
    try:
        say(f"starting {', '.join(cluster.names)}")
        cluster.start()
        cluster.wait_until_serving(_START_TIMEOUT_S, say)
        yield cluster
    finally:
        cluster.stop()
        say("everything is stopped")


def say(line: str) -> None:
    """A line for people, on stderr."""
    print(line, file=sys.stderr, flush=True)


def _found(checkpoint: str | None) -> str:
    if checkpoint is None:
        return str(DEFAULT_CHECKPOINT)
    resolve(checkpoint)  # downloads what is missing here, where its progress can be seen
    return checkpoint


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt

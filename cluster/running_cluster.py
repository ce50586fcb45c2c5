"""A cluster that somebody waits for: files found or downloaded, services started and stopped, with lines for people."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from moshi_cluster.cluster.default_checkpoint import DEFAULT_CHECKPOINT
from moshi_cluster.cluster.local_cluster import Layout, LocalCluster
from moshi_cluster.cluster.process import ClusterError
from moshi_cluster.models.loading import CheckpointError
from moshi_cluster.services.codec import loading as codec
from moshi_cluster.services.common.settings import SettingError
from moshi_cluster.services.lm import loading as lm

EXIT_FAILED, EXIT_BAD_SETTING, EXIT_INTERRUPTED = 1, 2, 130
_START_TIMEOUT_S = 600.0  # 15 GB from a slow disk
_STOP_MARGIN_S = 10.0  # beyond the drain: connections close, models are freed
_SLOTS = 2  # a connection that was lost may hold one a little longer


def exit_code(program: Callable[[], int]) -> int:
    """Runs a program that holds a cluster: SIGTERM and SIGHUP stop it as Ctrl-C does, failures are said, not thrown."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # nohup has its reasons
            signal.signal(number, _interrupt)
    try:
        return program()
    except SettingError as error:
        say(f"error: {error}")
        return EXIT_BAD_SETTING
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
    slots: int | None = _SLOTS,
) -> Iterator[LocalCluster]:
    """One process of each service, serving until the context is left. checkpoint: None for the default one.

    logs, environment, slots: of LocalCluster. Raises ClusterError, CheckpointError, SettingError, OSError.
    """
    cluster = LocalCluster(Layout(checkpoint or str(DEFAULT_CHECKPOINT), slots=slots), environment, logs)
    try:
        cluster.check_ports()  # before a long download
        _fetch(cluster)
        say(f"starting {', '.join(cluster.names)}")
        cluster.start()
        cluster.wait_until_serving(_START_TIMEOUT_S, say)
        yield cluster
    finally:
        _stop(cluster)


def say(line: str) -> None:
    """A line for people, on stderr; lost without complaint when its terminal is gone."""
    with contextlib.suppress(OSError):
        print(line, file=sys.stderr, flush=True)


def _fetch(cluster: LocalCluster) -> None:
    """Downloads what is missing in this process, where its progress can be seen."""
    settings = cluster.process("lm-0").settings
    say(f"finding the files of {settings.hf_repo or settings.checkpoint}")
    codec.find(cluster.process("codec-0").settings)
    lm.find(settings)


def _stop(cluster: LocalCluster) -> None:
    grace_s = max(cluster.process(name).settings.drain_grace_s for name in cluster.names)
    codes = cluster.stop(grace_s + _STOP_MARGIN_S)
    for name in (name for name, code in codes.items() if code == -signal.SIGKILL):
        say(f"{name} did not stop within {grace_s + _STOP_MARGIN_S:g} s and was killed")
    if codes:
        say("everything is stopped")


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt

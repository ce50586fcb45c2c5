"""A cluster of one's own for the length of a conversation."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import moshi_cluster

_PATH = str(Path(moshi_cluster.__file__).parents[1])  # the checkout, or site-packages
_STOP_TIMEOUT_S = 30.0


class LocalError(Exception):
    """The cluster did not start; the program has said why on stderr."""


@contextmanager
def local_gateway(options: list[str]) -> Iterator[str]:
    """Starts a cluster on free ports of this machine, gives the URL of its page, and stops it. Raises LocalError.

    `moshi-cluster serve` as a process of its own, which also stops when this one dies: its standard input closes. It
    gives up by itself when the services do not serve in time. options: of `serve`.
    """
    process = subprocess.Popen(
        # -P: what lies in the current folder is not run in place of this package
        [sys.executable, "-P", "-m", "moshi_cluster", "serve", "--attached", *options],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [_PATH, os.environ.get("PYTHONPATH")]))},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C hangs up first, then we stop the cluster
    )
    assert process.stdin is not None and process.stdout is not None
    serves = False
    try:
        line = process.stdout.readline()
        if not line:
            raise LocalError("the cluster did not start")
        serves = True
        yield str(json.loads(line)["http"])
    finally:
        with contextlib.suppress(OSError):
            process.stdin.close()
        if not serves:
            process.terminate()  # before it serves it does not look at its standard input
        _await_end(process)
        process.stdout.close()


def _await_end(process: subprocess.Popen[str]) -> None:
    """Asks again before it kills."""
    for insist in (process.terminate, process.kill):
        try:
            process.wait(_STOP_TIMEOUT_S)
            return
        except subprocess.TimeoutExpired:
            insist()
    process.wait()

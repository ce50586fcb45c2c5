"""`moshi-cluster serve`: a codec, an lm and a gateway on this machine, until somebody stops it or one of them dies."""

from __future__ import annotations

import os
import select
import sys
import time
from argparse import Namespace
from collections.abc import Callable

from moshi_cluster.cluster.announcement import for_people, for_programs
from moshi_cluster.cluster.local_cluster import LocalCluster
from moshi_cluster.cluster.running_cluster import exit_code, running_cluster, say
from moshi_cluster.cluster.serve_environment import serve_environment

_POLL_S = 0.2


def serve(arguments: Namespace) -> int:
    """Runs the command; the exit code is 0 when it was told to stop, 1 when a service failed, 2 for a bad setting, 130
    when it was interrupted before it served."""
    return exit_code(lambda: _serve(arguments))


def _serve(arguments: Namespace) -> int:
    environment = serve_environment(arguments, os.environ, best_device)
    for remark in environment.remarks:
        say(remark)
    with running_cluster(None, arguments.logs, environment.variables, slots=None) as cluster:
        print(for_programs(cluster) if arguments.attached else for_people(cluster), flush=True)
        try:
            _hold(cluster, _stdin_ended if arguments.attached else _pause)
        except KeyboardInterrupt:
            say("stopping; once more ends calls that are up at once")
    return 0


def _hold(cluster: LocalCluster, told_to_stop: Callable[[], bool]) -> None:
    """Returns when told to stop. Raises ClusterError as soon as a service has ended."""
    while not told_to_stop():
        cluster.check()


def _pause() -> bool:
    time.sleep(_POLL_S)
    return False


def _stdin_ended() -> bool:
    """Whoever started this program has closed its standard input, or has died. Waits a moment."""
    ready, _, _ = select.select([sys.stdin], [], [], _POLL_S)
    return bool(ready) and not os.read(sys.stdin.fileno(), 4096)


def best_device() -> str:
    """cuda, mps or cpu, whichever torch finds first."""
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"

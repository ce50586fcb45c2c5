"""A recorded utterance through all three services: `make demo`.

Starts codec, lm and gateway on free ports, calls them with the command-line client in real time, prints what Moshi
says, writes reply.wav, prints the latency of every hop from the services' own metrics, and stops everything.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType

from clients.cli.__main__ import DEMO_UTTERANCE
from models.loading import CheckpointError, resolve
from scripts.default_checkpoint import default_checkpoint
from scripts.latency_table import histograms, scrape, table
from scripts.local_cluster import ClusterError, Layout, LocalCluster

_START_TIMEOUT_S = 600.0  # 15 GB from a slow disk
_CALL_TIMEOUT_S = 300.0
_GATEWAY_HOPS = ("edge_in", "encode", "lm", "decode", "edge_out", "turnaround")


def main() -> int:
    """Command line; the exit code is the client's, 1 when the services fail, 130 when interrupted."""
    arguments = _parser().parse_args()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        return _run(arguments)
    except (CheckpointError, ClusterError, OSError, subprocess.TimeoutExpired) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted, everything is stopped", file=sys.stderr)
        return 130


def _run(arguments: argparse.Namespace) -> int:
    cluster = LocalCluster(Layout(_checkpoint(arguments.checkpoint), slots=2), log_folder=arguments.logs)
    try:
        _say(f"starting {', '.join(cluster.names)}")
        cluster.start()
        cluster.wait_until_serving(_START_TIMEOUT_S, _say)
        code = _call(cluster.address(), arguments)
        if code == 0:
            print(f"\n{latencies(cluster)}")
        return code
    finally:
        cluster.stop()
        _say("everything is stopped")


def _checkpoint(given: str | None) -> str:
    if given is None:
        return str(default_checkpoint())
    resolve(given)  # downloads what is missing here, where its progress can be seen
    return given


def _call(target: str, arguments: argparse.Namespace) -> int:
    _say(f"calling with {arguments.input.name}")
    command = [sys.executable, "-m", "clients.cli", "converse", "--target", target]
    command += ["--input", str(arguments.input), "--output", str(arguments.output), "--seed", "1"]
    return subprocess.run(command, timeout=_CALL_TIMEOUT_S, check=False).returncode


def latencies(cluster: LocalCluster) -> str:
    """The table: every hop as the gateway saw it, then where the workers spent the time."""
    hops = histograms(scrape(cluster.metrics_url("gateway-0")), "moshi_gateway_hop_seconds", "hop")
    rows = [(hop, hops[hop]) for hop in _GATEWAY_HOPS if hop in hops]
    for service in ("codec", "lm"):
        metrics = scrape(cluster.metrics_url(f"{service}-0"))
        for part in ("queue", "step"):
            found = histograms(metrics, f"moshi_{service}_{part}_seconds", "program")
            rows += [(_title(service, program, part), histogram) for program, histogram in sorted(found.items())]
    return table(rows)


def _title(service: str, program: str, part: str) -> str:
    return " ".join(dict.fromkeys(("  in", service, program, part)))


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m scripts.demo", description=__doc__.partition("\n\n")[0])
    parser.add_argument("--checkpoint", help="folder or owner/name[@revision]; the demo model if absent")
    parser.add_argument("--input", type=Path, default=DEMO_UTTERANCE, help="mono 16-bit WAV file")
    parser.add_argument("--output", type=Path, default=Path("reply.wav"), help="where Moshi's voice goes")
    parser.add_argument("--logs", type=Path, help="folder to keep the services' logs in")
    return parser


if __name__ == "__main__":
    sys.exit(main())

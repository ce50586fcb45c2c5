"""`python -m benchmarks.triton.strategies`: how long paced frames take with each way of batching sequences in Triton.

Streams go straight to a codec worker, without gateway and lm, so that nothing else is on the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from benchmarks.online.quantiles import quantile
from benchmarks.triton.server import NoTriton, TritonFailed, TritonServer, install
from benchmarks.triton.stage import TORCH, TRITON, CodecStage
from benchmarks.triton.streams import round_trips_ms
from moshi_cluster.cluster.default_checkpoint import DEFAULT_CHECKPOINT
from moshi_cluster.cluster.process import ClusterError
from moshi_cluster.models.loading import Part, resolve
from moshi_cluster.tools.triton_config import RepositoryOptions
from moshi_cluster.tools.triton_repository import write_repository

_WAYS: Mapping[str, Mapping[str, object]] = {
    "oldest": {"strategy": "oldest"},
    "oldest, 5 ms delay": {"strategy": "oldest", "queue_delay_ms": 5.0},
    "direct": {"strategy": "direct"},
    "direct, 5 ms delay": {"strategy": "direct", "queue_delay_ms": 5.0},
}


def main() -> int:
    """Command line; 0 also where this machine cannot have a tritonserver."""
    options = _parser().parse_args()
    try:
        installed = install()
        print(f"{'ms':<20}{'encode p50':>12}{'p99':>8}{'decode p50':>12}{'p99':>8}")
        for number, (way, given) in enumerate(_WAYS.items()):
            _measure(options, installed, way, given, beside_torch=not number)
    except NoTriton as error:
        print(f"skipped: {error}")
    except (ClusterError, TritonFailed, TimeoutError) as error:
        print(f"FAILS  {error or type(error).__name__}")
        return 1
    return 0


def _measure(
    options: argparse.Namespace, installed: Path, way: str, given: Mapping[str, object], beside_torch: bool
) -> None:
    with tempfile.TemporaryDirectory(prefix="moshi-triton-", ignore_cleanup_errors=True) as folder:
        work = Path(folder)
        repository = RepositoryOptions(slots=options.streams, max_batch=options.streams, **given)  # type: ignore[arg-type]
        write_repository(resolve(options.checkpoint, parts=Part.MIMI), repository, work / "models")
        triton = TritonServer(installed, work / "models", work)
        triton.start()
        try:
            triton.wait_until_ready()
            with CodecStage(options.checkpoint, options.streams, triton.url, work) as stage:
                for name in (TORCH, TRITON) if beside_torch else (TRITON,):
                    _show(options, way if name == TRITON else "torch", stage.processes[f"codec-{name}"].address)
        finally:
            triton.stop()


def _show(options: argparse.Namespace, way: str, address: str) -> None:
    trips_ms = asyncio.run(round_trips_ms(address, options.streams, options.frames))
    figures = [quantile(trips_ms[program], q) for program in ("encode", "decode") for q in (0.5, 0.99)]
    print(f"{way:<20}{figures[0]:>12.1f}{figures[1]:>8.1f}{figures[2]:>12.1f}{figures[3]:>8.1f}", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="benchmarks.triton.strategies", description=__doc__)
    parser.add_argument("--checkpoint", default=str(DEFAULT_CHECKPOINT), help="a folder or repository; the demo model")
    parser.add_argument("--streams", type=int, default=8, help="of each direction at once (%(default)s)")
    parser.add_argument("--frames", type=int, default=125, help="of each stream, 80 ms apart (%(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(main())

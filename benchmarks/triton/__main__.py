"""`python -m benchmarks.triton`: the codec behind a real Triton, beside the torch backend in the same run.

Parity of 8 streams; 8 paced calls through the whole cluster with each backend, and what each hop costs more; Triton
killed and started again while people talk. The exit status says whether it holds: 0 also where it is skipped, because
this machine cannot have a tritonserver, 1 where something does not hold.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.online.cluster import Cluster
from benchmarks.online.driver import RunOptions, make_callers
from benchmarks.online.limits import Limits
from benchmarks.online.measure import measure
from benchmarks.online.report import HopLatency, LoadReport
from benchmarks.online.scenarios import SCENARIOS, Size
from benchmarks.online.speech import LineFormat, speech_messages
from benchmarks.triton.server import NoTriton, TritonFailed, TritonServer, install
from benchmarks.triton.stage import BOTH, TORCH, TRITON, Stage
from benchmarks.triton.streams import answers
from moshi_cluster.clients.cli.recording import DEMO_UTTERANCE
from moshi_cluster.cluster.default_checkpoint import DEFAULT_CHECKPOINT
from moshi_cluster.cluster.process import ClusterError
from moshi_cluster.models.loading import Part, resolve
from moshi_cluster.tools.triton_config import RepositoryOptions
from moshi_cluster.tools.triton_repository import write_repository

_STREAMS = 8
_LINE = LineFormat("mulaw", 8000, 20, 20)
_HOPS = ("edge_in", "encode", "lm", "decode", "edge_out", "turnaround")
_WORKER_ROWS = ("codec encode queue", "codec encode step", "codec decode queue", "codec decode step")


@dataclass
class Verdict:
    """What was found to hold, and what not."""

    failed: bool = False

    def say(self, holds: bool, sentence: str) -> None:
        """Prints a line of the outcome."""
        self.failed |= not holds
        print(f"{'holds' if holds else 'FAILS'}  {sentence}", flush=True)


def main() -> int:
    """Command line."""
    options = _parser().parse_args()
    try:
        installed = install()
    except NoTriton as error:
        print(f"skipped: {error}")
        return 0
    with tempfile.TemporaryDirectory(prefix="moshi-triton-", ignore_cleanup_errors=True) as folder:
        try:
            return _run(options, installed, options.logs or Path(folder))
        except (ClusterError, TritonFailed, TimeoutError) as error:
            print(f"FAILS  {error or type(error).__name__}")
            return 1


def _run(options: argparse.Namespace, installed: Path, work: Path) -> int:
    work.mkdir(parents=True, exist_ok=True)
    models = work / "models"
    repository = RepositoryOptions(
        slots=_STREAMS, max_batch=_STREAMS, strategy=options.strategy, queue_delay_ms=options.queue_delay_ms
    )
    write_repository(resolve(options.checkpoint, parts=Part.MIMI), repository, models)
    triton, verdict = TritonServer(installed, models, work), Verdict()
    triton.start()
    try:
        triton.wait_until_ready()
        with Stage(options.checkpoint, _STREAMS, triton.url, work) as stage:
            _check_parity(stage, verdict)
            _compare_calls(stage, options.seconds, verdict)
            _kill_and_restart(stage, triton, options.seconds, verdict)
    finally:
        triton.stop()
    return int(verdict.failed)


def _check_parity(stage: Stage, verdict: Verdict) -> None:
    async def both() -> bool:
        torch, triton = [
            await answers(stage.processes[f"codec-{name}"].address, _STREAMS, frames=50) for name in (TORCH, TRITON)
        ]
        verdict.say(torch.codes == triton.codes, f"{_STREAMS} streams of 50 frames: the same codes")
        verdict.say(torch.pcm == triton.pcm, f"{_STREAMS} streams of 50 frames: the same samples, bit for bit")
        return True

    asyncio.run(both())


def _compare_calls(stage: Stage, seconds: float, verdict: Verdict) -> None:
    reports = {choice: _calls(stage.cluster(choice), seconds) for choice in (TORCH, TRITON)}
    for choice, report in reports.items():
        late = f"{report.frames.missed} of {report.frames.answered} frames late"
        verdict.say(report.calls.ok == _STREAMS, f"{choice}: {report.calls.ok} of {_STREAMS} paced calls well, {late}")
        verdict.say(report.frames.deficit == 0, f"{choice}: every frame answered")
    print("\n" + "\n".join(table(reports[TORCH].hops, reports[TRITON].hops)) + "\n", flush=True)


def _kill_and_restart(stage: Stage, triton: TritonServer, seconds: float, verdict: Verdict) -> None:
    """Calls are on both codecs when Triton dies; those of its codec go on on the other one."""
    codec = stage.processes["codec-triton"]
    process_id = codec.process_id
    killer = threading.Timer(seconds / 2, triton.kill)
    killer.start()
    report = _calls(stage.cluster(BOTH), seconds)
    killer.join()
    ended = f"{report.calls.ok} of {_STREAMS} calls end well {dict(report.calls.failed)}"
    verdict.say(report.calls.ok == _STREAMS, f"tritonserver killed in the middle: {ended}")
    verdict.say(codec.running and not codec.serving, "its codec stays, and says that it does not serve")
    begin_s = time.monotonic()
    triton.start()
    triton.wait_until_ready()
    ready_s = time.monotonic()
    stage.wait_until_serving("codec-triton")
    served_s = time.monotonic()
    times = f"ready after {ready_s - begin_s:.1f} s, the same codec process serves {served_s - ready_s:.1f} s later"
    verdict.say(codec.process_id == process_id, f"started again: {times}")
    stage.wait_until_serving("gateway-triton")
    time.sleep(1.0)  # the gateway hears of it within its second
    after = _calls(stage.cluster(TRITON), seconds)
    verdict.say(after.calls.ok == _STREAMS, f"then {after.calls.ok} of {_STREAMS} paced calls well through Triton")


def _calls(cluster: Cluster, seconds: float) -> LoadReport:
    plan = SCENARIOS["steady"].plan(Size(_STREAMS, seconds, seed=1, step_s=1.0))
    callers = make_callers(plan, RunOptions(_LINE), [speech_messages(DEMO_UTTERANCE, _LINE)])
    return measure(cluster, callers, 1, Limits(None, None, None, None), None)


def table(torch: Mapping[str, HopLatency], triton: Mapping[str, HopLatency]) -> Iterator[str]:
    """Lines: each hop of both clusters, and the difference."""
    yield f"{'':<20}{'torch':>16}{'triton':>18}{'added':>18}"
    yield f"{'ms':<20}{'p50':>8}{'p99':>8}{'p50':>10}{'p99':>8}{'p50':>10}{'p99':>8}"
    for row in (*_HOPS, *_WORKER_ROWS):
        if row in torch and row in triton:
            a, b = torch[row], triton[row]
            added = f"{b.p50_ms - a.p50_ms:>+10.1f}{b.p99_ms - a.p99_ms:>+8.1f}"
            yield f"{row:<20}{a.p50_ms:>8.1f}{a.p99_ms:>8.1f}{b.p50_ms:>10.1f}{b.p99_ms:>8.1f}{added}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="benchmarks.triton", description=__doc__)
    parser.add_argument("--checkpoint", default=str(DEFAULT_CHECKPOINT), help="a folder or repository; the demo model")
    parser.add_argument("--seconds", type=float, default=12.0, help="of each call (%(default)s)")
    parser.add_argument(
        "--strategy", choices=("oldest", "direct"), default=RepositoryOptions.strategy, help="of the sequence batcher"
    )
    parser.add_argument(
        "--queue-delay-ms",
        type=float,
        default=RepositoryOptions.queue_delay_ms,
        help="a frame may wait so long for others",
    )
    parser.add_argument("--logs", type=Path, help="folder to keep the logs in")
    return parser


if __name__ == "__main__":
    sys.exit(main())

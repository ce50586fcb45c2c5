"""`python -m benchmarks.gpu.serving`: the services themselves on one card, and callers who call them over gRPC.

A codec and an lm process share the card under NVIDIA's MPS, where its daemon can be started; gateways and callers are
as many as one machine's cores carry. The weights are random and of Moshi's size. `--dry` takes a small model on a CPU.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from benchmarks.ending import end
from benchmarks.gpu.report import Figure, Note, Report, table
from benchmarks.gpu.scale import Scale
from moshi_cluster.cluster.local_cluster import Layout, LocalCluster
from moshi_cluster.cluster.running_cluster import exit_code, say
from moshi_cluster.models.loading.published import MOSHI_7B
from moshi_cluster.tools.checkpoint_sizes import SHARED
from moshi_cluster.tools.make_checkpoint import make, train_tokenizer

_PART = "services"
_MPS = "nvidia-cuda-mps-control"
_MPS_TIMEOUT_S, _END_TIMEOUT_S = 20.0, 5.0
_PIECES = 512  # of the tokenizer: what a model with random weights says nobody reads
_WRITE_TIMEOUT_S, _START_TIMEOUT_S, _DRIVER_MARGIN_S = 180.0, 180.0, 60.0
_MEMORY = Path("/dev/shm")  # a file system in memory: 15 GB are written and read at once
_CHECKPOINT_BYTES = 16e9


def main() -> int:
    """0 if every driver ended well."""
    parser = _parser()
    options = parser.parse_args()
    if options.callers % options.gateways:
        parser.error(f"--callers: {options.callers} cannot be shared equally by {options.gateways} gateways")
    if not options.dry and not torch.cuda.is_available():
        parser.error("no CUDA device here; --dry runs everything, small, on a CPU")
    if options.write:
        write_checkpoint(Scale(_PART, Report(options.results), dry=False), options.write)
        return 0
    options.results.unlink(missing_ok=True)
    return exit_code(lambda: _run(Told(Report(options.results)), options))


class Told:
    """Figures of the services. This process leaves the card alone: only what it starts is to be on it."""

    def __init__(self, report: Report) -> None:
        self.report = report

    def figure(self, name: str, value: float | None, unit: str) -> None:
        """None: there was nothing to measure."""
        self.report.add(Note(_PART, f"{name}: none") if value is None else Figure(_PART, name, value, unit))

    def note(self, text: str) -> None:
        self.report.add(Note(_PART, text))


def _run(told: Told, options: argparse.Namespace) -> int:
    with _folder(options.dry) as folder, _mps(told, wanted=options.mps and not options.dry):
        start_s = time.monotonic()
        _write(folder / "checkpoint", options)
        told.figure("writing the checkpoint", time.monotonic() - start_s, "s")
        layout = Layout(str(folder / "checkpoint"), gateways=options.gateways, slots=options.callers)
        cluster = LocalCluster(layout, _environment(options), options.logs)
        try:
            start_s = time.monotonic()
            cluster.start()
            cluster.wait_until_serving(_START_TIMEOUT_S, say)
            told.figure("until all serve", time.monotonic() - start_s, "s")
            _tell_servers(told)
            ended_well = _call(told, options, cluster, folder)
        finally:
            cluster.stop()
    print("\n" + table(told.report.entries()))
    return int(not ended_well)


@contextmanager
def _folder(dry: bool) -> Iterator[Path]:
    """In memory where there is room."""
    room = _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > _CHECKPOINT_BYTES
    with tempfile.TemporaryDirectory(prefix="moshi-", dir=_MEMORY if room and not dry else None) as folder:
        yield Path(folder)


def _write(folder: Path, options: argparse.Namespace) -> None:
    """In a process of its own, which gives the card back."""
    if options.dry:
        make(folder)
        return
    command = [sys.executable, "-m", "benchmarks.gpu.serving", "--write", str(folder)]
    subprocess.run([*command, "--results", str(folder.with_suffix(".jsonl"))], check=True, timeout=_WRITE_TIMEOUT_S)


def write_checkpoint(scale: Scale, folder: Path) -> None:
    """Moshi's sizes, laid out as published; weights are made on the device."""
    config, mimi = MOSHI_7B | SHARED, scale.mimi_size
    folder.mkdir()
    save_file(scale.tensors, folder / config["moshi_name"])
    save_file(mimi.tensors(scale.device), folder / config["mimi_name"])
    (folder / config["tokenizer_name"]).write_bytes(train_tokenizer(_PIECES))
    for name, content in ((config["mimi_config_name"], mimi.config), ("config.json", config)):
        (folder / name).write_text(json.dumps(content))


def _environment(options: argparse.Namespace) -> dict[str, str]:
    device, kv_dtype = ("cpu", "auto") if options.dry else ("cuda:0", "int8")
    return {
        "MOSHI_CODEC_DEVICE": device,
        "MOSHI_LM_DEVICE": device,
        "MOSHI_LM_KV_DTYPE": kv_dtype,
        "MOSHI_GATEWAY_MAX_SESSIONS": str(options.callers),
        "MOSHI_GATEWAY_MAX_OPENINGS_PER_S": str(10 * options.callers),
    }


def _call(told: Told, options: argparse.Namespace, cluster: LocalCluster, folder: Path) -> bool:
    """Callers of all gateways at once, those of each in a process of their own."""
    urls = [cluster.metrics_url(name) for name in cluster.names]
    found = [folder / f"callers-{gateway}.json" for gateway in range(options.gateways)]
    with ExitStack() as running:
        drivers = []
        for gateway, file in enumerate(found):
            size = ["--callers", str(options.callers // options.gateways), "--seconds", str(options.seconds)]
            where = ["--target", cluster.address(f"gateway-{gateway}"), "--seed", str(1 + 1000 * gateway)]
            # All see the same services: one is enough to tell of them.
            metrics = ["--metrics", *urls] if gateway == 0 else []
            command = [
                sys.executable,
                "-m",
                "benchmarks.online",
                "steady",
                *where,
                *size,
                *metrics,
                "--json",
                str(file),
            ]
            drivers.append(subprocess.Popen(command, stdout=subprocess.DEVNULL))
            running.callback(end, drivers[-1], _END_TIMEOUT_S)
        codes = _wait(drivers, options.seconds + _DRIVER_MARGIN_S)
    for gateway, file in enumerate(found):
        if file.exists():
            _tell_callers(told, f"callers of gateway {gateway}", json.loads(file.read_text())["report"])
    ended_well = codes == [0] * len(found)
    told.figure("every driver ended well", float(ended_well), "passed")
    return ended_well


def _wait(drivers: Sequence[subprocess.Popen[bytes]], timeout_s: float) -> list[int]:
    """Their exit codes, as far as they came in time."""
    ends_s, codes = time.monotonic() + timeout_s, []
    with contextlib.suppress(subprocess.TimeoutExpired):
        for driver in drivers:
            codes.append(driver.wait(max(0.1, ends_s - time.monotonic())))
    return codes


def _tell_callers(told: Told, name: str, report: Mapping[str, Any]) -> None:
    """And of the services, whose metrics one of the drivers read."""
    calls, frames, turnaround = report["calls"], report["frames"], report["turnaround_ms"]
    for key, called in (("p50", "p50"), ("p99", "p99"), ("max", "at most")):
        told.figure(f"{name}: turnaround {called}", turnaround[key], "ms")
    told.figure(f"{name}: ended well", calls["ok"], f"of {calls['made']} calls")
    told.figure(f"{name}: answered", frames["answered"], f"of {frames['wanted']} frames")
    told.figure(f"{name}: later than 80 ms", frames["missed"], "frames")
    told.figure(f"{name}: cores busy with anything else", report["driver"]["others_core_ratio"], "cores")
    for hop, latency in report["hops"].items():
        told.figure(f"all, {hop} p50", latency["p50_ms"], "ms")
        told.figure(f"all, {hop} p99", latency["p99_ms"], "ms")


@contextmanager
def _mps(told: Told, wanted: bool) -> Iterator[None]:
    """NVIDIA's daemon, so that both processes' kernels run side by side; one that runs already goes on."""
    if not wanted or not shutil.which(_MPS):
        told.note("without MPS")
        yield
        return
    started = _ask_mps("get_server_list") is None
    if started:
        subprocess.run([_MPS, "-d"], check=True, timeout=_MPS_TIMEOUT_S)
    told.note("with MPS's daemon")
    try:
        yield
    finally:
        if started and _ask_mps("quit") is None:
            say(f"{_MPS} did not end")


def _tell_servers(told: Told) -> None:
    """Whether the services came to the daemon: it starts a server for the first client."""
    if shutil.which(_MPS) and (servers := _ask_mps("get_server_list")) is not None:
        told.figure("MPS serves", len(servers.split()), "servers")


def _ask_mps(command: str) -> str | None:
    """What NVIDIA's program says; None where no daemon answers in time."""
    with contextlib.suppress(subprocess.SubprocessError):
        asked = subprocess.run(
            [_MPS], input=f"{command}\n", timeout=_MPS_TIMEOUT_S, check=True, capture_output=True, text=True
        )
        return asked.stdout
    return None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="benchmarks.gpu.serving", description=__doc__)
    parser.add_argument("--dry", action="store_true", help="a small model on a CPU: shows that it runs")
    parser.add_argument("--callers", type=int, default=128, help="in all, 128 if absent")
    parser.add_argument("--gateways", type=int, default=4, help="processes that share the callers, 4 if absent")
    parser.add_argument("--seconds", type=float, default=20.0, help="length of the calls, 20 if absent")
    parser.add_argument("--mps", action=argparse.BooleanOptionalAction, default=True, help="NVIDIA's MPS")
    parser.add_argument("--logs", type=Path, help="folder for the services' logs")
    parser.add_argument("--results", type=Path, default=Path("gpu-serving.jsonl"), help="where figures go")
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)  # a checkpoint, for the process that asks for it
    return parser


if __name__ == "__main__":
    sys.exit(main())

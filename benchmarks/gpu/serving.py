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

from safetensors.torch import save_file

from benchmarks.gpu.report import Report, table
from benchmarks.gpu.scale import Scale
from moshi_cluster.cluster.local_cluster import Layout, LocalCluster
from moshi_cluster.cluster.running_cluster import exit_code, say
from moshi_cluster.models.loading.published import MOSHI_7B
from moshi_cluster.tools.checkpoint_sizes import SHARED
from moshi_cluster.tools.make_checkpoint import make, train_tokenizer

_MPS = "nvidia-cuda-mps-control"
_MPS_TIMEOUT_S = 20.0
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
    options.results.unlink(missing_ok=True)
    scale = Scale("services", Report(options.results), options.dry)
    if options.write:
        write_checkpoint(scale, options.write)
        return 0
    return exit_code(lambda: _run(scale, options))


def _run(scale: Scale, options: argparse.Namespace) -> int:
    with _folder(options.dry) as folder, _mps(scale, wanted=options.mps):
        start_s = time.monotonic()
        _write(folder / "checkpoint", options)
        scale.figure("writing the checkpoint", time.monotonic() - start_s, "s")
        layout = Layout(str(folder / "checkpoint"), gateways=options.gateways, slots=options.callers)
        cluster = LocalCluster(layout, _environment(scale, options), options.logs)
        try:
            start_s = time.monotonic()
            cluster.start()
            cluster.wait_until_serving(_START_TIMEOUT_S, say)
            scale.figure("until all serve", time.monotonic() - start_s, "s")
            ended_well = _call(scale, options, cluster, folder)
        finally:
            cluster.stop()
    print("\n" + table(scale.report.entries()))
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


def _environment(scale: Scale, options: argparse.Namespace) -> dict[str, str]:
    device, kv_dtype = str(scale.device), "auto" if options.dry else "int8"
    return {
        "MOSHI_CODEC_DEVICE": device,
        "MOSHI_LM_DEVICE": device,
        "MOSHI_LM_KV_DTYPE": kv_dtype,
        "MOSHI_GATEWAY_MAX_SESSIONS": str(options.callers),
        "MOSHI_GATEWAY_MAX_OPENINGS_PER_S": str(10 * options.callers),
    }


def _call(scale: Scale, options: argparse.Namespace, cluster: LocalCluster, folder: Path) -> bool:
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
            running.callback(_end, drivers[-1])
        codes = _wait(drivers, options.seconds + _DRIVER_MARGIN_S)
    reports = [json.loads(file.read_text())["report"] for file in found if file.exists()]
    for gateway, report in enumerate(reports):
        _tell_callers(scale, f"callers of gateway {gateway}", report)
    for name, hop in reports[0]["hops"].items() if reports else ():
        scale.figure(f"all, {name} p50", hop["p50_ms"], "ms")
        scale.figure(f"all, {name} p99", hop["p99_ms"], "ms")
    scale.check("every driver ended well", codes == [0] * len(found))
    return codes == [0] * len(found)


def _wait(drivers: Sequence[subprocess.Popen[bytes]], timeout_s: float) -> list[int]:
    """Their exit codes, as far as they came in time."""
    ends_s, codes = time.monotonic() + timeout_s, []
    with contextlib.suppress(subprocess.TimeoutExpired):
        for driver in drivers:
            codes.append(driver.wait(max(0.1, ends_s - time.monotonic())))
    return codes


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def _tell_callers(scale: Scale, name: str, report: Mapping[str, Any]) -> None:
    calls, frames, turnaround = report["calls"], report["frames"], report["turnaround_ms"]
    for key, called in (("p50", "p50"), ("p99", "p99"), ("max", "at most")):
        scale.figure(f"{name}: turnaround {called}", turnaround[key], "ms")
    scale.figure(f"{name}: ended well", calls["ok"], f"of {calls['made']} calls")
    scale.figure(f"{name}: answered", frames["answered"], f"of {frames['wanted']} frames")
    scale.figure(f"{name}: later than 80 ms", frames["missed"], "frames")
    scale.figure(f"{name}: cores busy with anything else", report["driver"]["others_core_ratio"], "cores")


@contextmanager
def _mps(scale: Scale, wanted: bool) -> Iterator[None]:
    """NVIDIA's daemon, so that both processes' kernels run side by side; one that runs already goes on."""
    if scale.dry or not wanted or not shutil.which(_MPS):
        scale.note("without MPS")
        yield
        return
    started = _tell_mps("get_server_list") != 0
    if started:
        subprocess.run([_MPS, "-d"], check=True, timeout=_MPS_TIMEOUT_S)
    scale.note("under MPS")
    try:
        yield
    finally:
        if started and _tell_mps("quit") != 0:
            say(f"{_MPS} did not end")


def _tell_mps(command: str) -> int:
    """The exit code of NVIDIA's program; 1 where it takes too long."""
    try:
        return subprocess.run(
            [_MPS], input=f"{command}\n".encode(), timeout=_MPS_TIMEOUT_S, check=False, capture_output=True
        ).returncode
    except subprocess.TimeoutExpired:
        return 1


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

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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import save_file

from benchmarks.gpu.report import Report, table
from benchmarks.gpu.scale import Scale
from moshi_cluster.cluster.local_cluster import Layout, LocalCluster
from moshi_cluster.cluster.running_cluster import say
from moshi_cluster.models.loading.published import MOSHI_7B
from moshi_cluster.tools.checkpoint_sizes import SHARED
from moshi_cluster.tools.make_checkpoint import make, train_tokenizer

_MPS = "nvidia-cuda-mps-control"
_PIECES = 512  # of the tokenizer: what a model with random weights says nobody reads
_START_TIMEOUT_S = 180.0
_DRIVER_MARGIN_S = 60.0
_MEMORY = Path("/dev/shm")  # a file system in memory: 15 GB are written and read at once


def main() -> int:
    """0 if every call ended well."""
    options = _options()
    options.results.unlink(missing_ok=True)
    report = Report(options.results)
    scale = Scale("services", report, options.dry)
    folder = Path(tempfile.mkdtemp(prefix="moshi-", dir=_MEMORY if _MEMORY.is_dir() else None))
    try:
        with _mps(scale, wanted=options.mps):
            return _measure(scale, options, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _measure(scale: Scale, options: argparse.Namespace, folder: Path) -> int:
    start_s = time.monotonic()
    if options.dry:
        make(folder / "checkpoint")
    else:
        write_checkpoint(scale, folder / "checkpoint")
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


def write_checkpoint(scale: Scale, folder: Path) -> None:
    """Moshi's sizes, laid out as published; weights are made on the device."""
    config, mimi = MOSHI_7B | SHARED, scale.mimi_size
    folder.mkdir()
    save_file(scale.tensors, folder / config["moshi_name"])
    save_file(mimi.tensors(scale.device), folder / config["mimi_name"])
    (folder / config["tokenizer_name"]).write_bytes(train_tokenizer(_PIECES))
    for name, content in ((config["mimi_config_name"], mimi.config), ("config.json", config)):
        (folder / name).write_text(json.dumps(content))
    del scale.tensors
    torch.cuda.empty_cache()


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
    drivers, found = [], []
    for gateway in range(options.gateways):
        found.append(folder / f"callers-{gateway}.json")
        size = ["--callers", str(options.callers // options.gateways), "--seconds", str(options.seconds)]
        where = ["--target", cluster.address(f"gateway-{gateway}"), "--seed", str(1 + 1000 * gateway)]
        command = [sys.executable, "-m", "benchmarks.online", "steady", *where, *size, "--json", str(found[-1])]
        # All see the same services: one is enough to tell of them.
        metrics = ["--metrics", *urls] if gateway == 0 else []
        drivers.append(subprocess.Popen([*command, *metrics], stdout=subprocess.DEVNULL))
    codes = _wait(drivers, options.seconds + _DRIVER_MARGIN_S)
    for gateway, file in enumerate(found):
        if file.exists():
            _tell(scale, f"gateway {gateway}", json.loads(file.read_text())["report"])
    scale.check("every driver ended well", codes == [0] * len(codes))
    return codes == [0] * len(codes)


def _wait(drivers: Sequence[subprocess.Popen[bytes]], timeout_s: float) -> list[int]:
    ends_s = time.monotonic() + timeout_s
    try:
        return [driver.wait(max(0.1, ends_s - time.monotonic())) for driver in drivers]
    except subprocess.TimeoutExpired:
        return [-1]
    finally:
        for driver in drivers:
            driver.kill()
            driver.wait()


def _tell(scale: Scale, name: str, report: dict[str, dict[str, object]]) -> None:
    calls, frames, turnaround = report["calls"], report["frames"], report["turnaround_ms"]
    print(json.dumps({key: report[key] for key in ("calls", "frames", "turnaround_ms", "driver", "hops")}))
    for key in ("p50", "p99"):
        scale.figure(f"{name}: turnaround {key}", float(str(turnaround[key])), "ms")
    scale.figure(f"{name}: misses", 100 * float(str(frames["miss_ratio"])), "% of frames")
    scale.figure(f"{name}: deficit", float(str(frames["deficit"])), "frames")
    scale.figure(f"{name}: refused", float(str(calls["rejected"])), "calls")
    for hop, latency in report["hops"].items():
        if isinstance(latency, dict):
            for key in ("p50_ms", "p99_ms"):
                if latency.get(key) is not None:
                    scale.figure(f"{name}: {hop} {key[:3]}", float(latency[key]), "ms")


@contextmanager
def _mps(scale: Scale, wanted: bool) -> Iterator[None]:
    """NVIDIA's daemon, so that both processes' kernels run side by side."""
    if scale.dry or not wanted or not shutil.which(_MPS):
        scale.note("without MPS")
        yield
        return
    subprocess.run([_MPS, "-d"], check=True, timeout=20)
    scale.note("under MPS")
    try:
        yield
    finally:
        with contextlib.suppress(subprocess.SubprocessError):
            subprocess.run([_MPS], input=b"quit\n", timeout=20, check=False)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.gpu.serving", description=__doc__)
    parser.add_argument("--dry", action="store_true", help="a small model on a CPU: shows that it runs")
    parser.add_argument("--callers", type=int, default=128, help="in all, 128 if absent")
    parser.add_argument("--gateways", type=int, default=4, help="processes that share the callers, 4 if absent")
    parser.add_argument("--seconds", type=float, default=20.0, help="length of the calls, 20 if absent")
    parser.add_argument("--mps", action=argparse.BooleanOptionalAction, default=True, help="NVIDIA's MPS")
    parser.add_argument("--logs", type=Path, help="folder for the services' logs")
    parser.add_argument("--results", type=Path, default=Path("gpu-serving.jsonl"), help="where figures go")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())

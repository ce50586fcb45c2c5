"""Everything that `make triton` needs at once: two codecs of one checkpoint, an lm, and a gateway for each choice."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import moshi_cluster
from benchmarks.online.cluster import Cluster
from moshi_cluster.cluster.ports import LOOPBACK, free_ports
from moshi_cluster.cluster.process import ClusterError, ServiceProcess

TORCH, TRITON, BOTH = "torch", "triton", "both"
_START_TIMEOUT_S = 180.0
_STOP_TIMEOUT_S = 20.0
_POLL_S = 0.1


class CodecStage:
    """Processes `codec-torch` and `codec-triton`, for as long as the context lasts."""

    def __init__(self, checkpoint: str, slots: int, triton_url: str, work: Path) -> None:
        """Raises SettingError."""
        self._work = work
        self._model = {"CHECKPOINT": checkpoint, "SLOTS": str(slots)}
        in_triton = {"BACKEND": "triton", "TRITON_URL": triton_url, "SLOTS": str(slots)}
        self.processes = {
            f"codec-{name}": self._process(f"codec-{name}", given)
            for name, given in {TORCH: self._model, TRITON: in_triton}.items()
        }

    def __enter__(self) -> Self:
        for process in self.processes.values():
            process.start()
        try:
            for name in self.processes:
                self.wait_until_serving(name)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def wait_until_serving(self, name: str) -> None:
        """Raises ClusterError when that takes too long, or the process ends."""
        process, deadline_s = self.processes[name], time.monotonic() + _START_TIMEOUT_S
        while not process.serving:
            process.check()
            if time.monotonic() > deadline_s:
                raise ClusterError(f"{name} is not serving in time{process.log_tail()}")
            time.sleep(_POLL_S)

    def stop(self) -> None:
        """Gateways first."""
        for process in reversed(self.processes.values()):
            if process.running:
                process.signal(signal.SIGTERM)
        deadline_s = time.monotonic() + _STOP_TIMEOUT_S
        for process in self.processes.values():
            if process.started:
                process.wait_or_kill(max(0.0, deadline_s - time.monotonic()))

    def _process(self, name: str, settings: Mapping[str, str]) -> ServiceProcess:
        service = name.partition("-")[0]
        ports = ("PORT", "METRICS_PORT", "HTTP_PORT") if service == "gateway" else ("PORT", "METRICS_PORT")
        own = {"HOST": LOOPBACK, "DRAIN_GRACE_S": "2"} | dict(settings)
        own |= {key: str(port) for key, port in zip(ports, free_ports(len(ports)), strict=True)}
        variables = {f"MOSHI_{service.upper()}_{key}": value for key, value in own.items()}
        return ServiceProcess(name, service, _inherited() | variables, self._work / f"{name}.log")


class Stage(CodecStage):
    """The two codecs, an `lm` behind them, and the gateways `gateway-torch`, `-triton` and `-both`."""

    def __init__(self, checkpoint: str, slots: int, triton_url: str, work: Path) -> None:
        super().__init__(checkpoint, slots, triton_url, work)
        self.processes["lm"] = self._process("lm", self._model)
        addresses = {name: self.processes[f"codec-{name}"].address for name in (TORCH, TRITON)}
        for name, targets in (addresses | {BOTH: ",".join(addresses.values())}).items():
            given = {"CODEC_TARGETS": targets, "LM_TARGETS": self.processes["lm"].address}
            self.processes[f"gateway-{name}"] = self._process(f"gateway-{name}", given)

    def cluster(self, choice: str) -> Cluster:
        """What callers of a gateway call, and what is measured of it."""
        codecs = [TORCH, TRITON] if choice == BOTH else [choice]
        names = [f"gateway-{choice}", "lm", *(f"codec-{name}" for name in codecs)]
        processes = {name: self.processes[name] for name in names}
        return Cluster(
            processes[f"gateway-{choice}"].address,
            [process.metrics_url for process in processes.values()],
            {name: process.process_id for name, process in processes.items()},
        )


def _inherited() -> dict[str, str]:
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("MOSHI_")}
    package_parent = str(Path(moshi_cluster.__file__).parent.parent)
    return inherited | {"PYTHONPATH": os.pathsep.join(filter(None, [package_parent, inherited.get("PYTHONPATH")]))}

"""Results of a run: what was found, and where."""

from __future__ import annotations

import datetime
import os
from dataclasses import dataclass
from typing import Any

import torch

from benchmarks.machine import cpu_model
from benchmarks.offline.floors import Work
from benchmarks.offline.measure import Timings, times_faster
from benchmarks.offline.model_sizes import ModelSize
from benchmarks.offline.rates import Rates


@dataclass(frozen=True)
class Row:
    """One model at one batch."""

    size: ModelSize
    batch: int
    held: int  # frames, of a codec positions, that a session's attention reads
    ours: Timings
    upstream: Timings | None
    work: Work

    @property
    def faster(self) -> float | None:
        return times_faster(self.ours, self.upstream) if self.upstream else None

    def as_json(self, rates: Rates) -> dict[str, Any]:
        """Units are in the names."""
        read_ms, multiply_ms = self.work.floor_ms(rates)
        return {
            "part": self.size.name,
            "batch": self.batch,
            "held": self.held,
            "ours": _timings(self.ours),
            "upstream": _timings(self.upstream) if self.upstream else None,
            "times_faster": self.faster,
            "read_ms": read_ms,
            "multiply_ms": multiply_ms,
        }


@dataclass(frozen=True)
class Setting:
    """What the figures depend on."""

    device: torch.device
    threads: int
    rates: Rates
    upstream: dict[str, str] | None  # versions
    started: datetime.datetime
    load_average: float  # of the minute before

    def as_json(self) -> dict[str, Any]:
        """Units are in the names."""
        return {
            "date": self.started.isoformat(timespec="seconds"),
            "processor": processor(self.device),
            "device": str(self.device),
            "threads": self.threads,
            "torch": torch.__version__,
            "upstream": self.upstream,
            "load_average_before": self.load_average,
            "read_gb_s_by_mib": self.rates.read_gb_s,
            "matrix_gflop_s": {_short(dtype): rate for dtype, rate in self.rates.matrix_gflop_s.items()},
        }

    def __str__(self) -> str:
        reads = ", ".join(f"{size} MiB {rate:.0f}" for size, rate in self.rates.read_gb_s.items())
        products = ", ".join(f"{_short(dtype)} {rate:.0f}" for dtype, rate in self.rates.matrix_gflop_s.items())
        upstream = ", ".join(f"{name} {version}" for name, version in (self.upstream or {"not": "measured"}).items())
        return "\n".join(
            [
                f"- {self.started:%Y-%m-%d %H:%M}, {processor(self.device)}, {self.threads} threads of "
                f"{os.cpu_count()} cores, load average at the start {self.load_average:.1f}",
                f"- ours: torch {torch.__version__}; upstream: {upstream}",
                f"- reading, GB/s by size of what is read again and again: {reads}",
                f"- square matrix products, GFLOP/s: {products}",
            ]
        )


def processor(device: torch.device) -> str:
    """Name of the GPU, or of the CPU."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_model()


def _timings(timings: Timings) -> dict[str, Any]:
    return {
        "median_ms": timings.median_ms,
        "p10_ms": timings.quantile_ms(0.1),
        "p90_ms": timings.quantile_ms(0.9),
        "rounds_ms": [list(one) for one in timings.rounds],
    }


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")

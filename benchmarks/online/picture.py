"""Picture of a report: latency over time, calls over time, latency against calls, memory of long runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.online.report import LoadReport
from benchmarks.online.timeline import Point
from moshi_cluster.audio.frame import FRAME_MS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MEMORY_FROM_S = 120.0  # before that it says nothing


def write_picture(path: Path, report: LoadReport, title: str) -> None:
    """PNG, SVG or PDF by the file's suffix. Raises OSError, ValueError for another suffix."""
    # Imported after the run: it takes a second and 50 MB, and needs no display.
    from matplotlib.figure import Figure

    memory = bool(report.processes) and report.seconds >= _MEMORY_FROM_S
    figure = Figure(figsize=(9, 8 + 2.5 * memory), layout="constrained")
    heights = [3, 1.2, 3, *([2.2] if memory else [])]
    axes = figure.subplots(len(heights), 1, height_ratios=heights)
    figure.suptitle(title)
    _latency(axes[0], report.over_time, "time, s", marker="")
    _calls(axes[1], report.over_time)
    _latency(axes[2], report.by_calls, "calls up", marker="o")
    axes[2].xaxis.get_major_locator().set_params(integer=True)
    if memory:
        _memory(axes[3], report)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def _latency(axes: Axes, points: Sequence[Point], unit: str, marker: str) -> None:
    at = [point.at for point in points]
    axes.plot(at, [point.p50_ms for point in points], marker=marker, label="p50")
    axes.plot(at, [point.p99_ms for point in points], marker=marker, label="p99")
    axes.axhline(FRAME_MS, color="grey", linestyle="--", linewidth=1, label="deadline, 80 ms")
    axes.set(xlabel=unit, ylabel="turnaround, ms", ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left")


def _calls(axes: Axes, points: Sequence[Point]) -> None:
    axes.step([point.at for point in points], [point.calls for point in points], where="post", color="grey")
    axes.set(xlabel="time, s", ylabel="calls up", ylim=(0, None))
    axes.grid(alpha=0.3)


def _memory(axes: Axes, report: LoadReport) -> None:
    for name, process in report.processes.items():
        axes.plot([resident / 1e6 for resident in process.resident_bytes], label=name)
    axes.set(xlabel="time, s", ylabel="resident, MB", ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left")

"""Verdict: a line for each flood, and what of it did not hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict

from benchmarks.abuse.beside import Round
from benchmarks.columns import columns

_P99_MAX_S = 0.1
_P99_MAX_RATIO = 2.0
_GROWN_MAX_BYTES = 64 * 2**20  # buffers of eight clients with messages of half a megabyte, and what malloc keeps

_HEAD = ["flood", "sent", "p50 ms", "p99 ms", "beside p50", "p99", "grown MB", "gateway cores", "ends"]


def table(rounds: Sequence[Round]) -> str:
    """The callers' turnaround without and beside each flood, the growth of the service that grew most."""
    return columns([_HEAD, *map(_row, rounds)])


def figures(round_: Round) -> dict[str, object]:
    """All of it, as JSON has it."""
    return asdict(round_) | {"tally": {"sent": round_.tally.sent, "ends": dict(round_.tally.ends)}}


def broken(round_: Round) -> Iterator[str]:
    """A sentence for each promise that was not kept."""
    limit_s = max(_P99_MAX_S, _P99_MAX_RATIO * round_.without.p99_s)
    if not round_.beside.p99_s <= limit_s:  # nan is broken, too
        yield f"{round_.name}: p99 {round_.beside.p99_s * 1000:.0f} ms > {limit_s * 1000:.0f} ms"
    if round_.calls_lost:
        yield f"{round_.name}: {round_.calls_lost} callers lost their call"
    if round_.frames_lost:
        yield f"{round_.name}: {round_.frames_lost} frames of the callers were lost"
    for service, grown in round_.grown_bytes.items():
        if grown > _GROWN_MAX_BYTES:
            yield f"{round_.name}: {service} grew by {grown / 2**20:.0f} MB"


def _row(round_: Round) -> list[str]:
    parts = [part_s for part in (round_.without, round_.beside) for part_s in (part.p50_s, part.p99_s)]
    ends = ", ".join(f"{count} {end}" for end, count in round_.tally.ends.most_common(3))
    return [
        round_.name,
        f"{round_.tally.sent:,}",
        *(f"{part_s * 1000:.0f}" for part_s in parts),
        f"{max(round_.grown_bytes.values()) / 2**20:.1f}",
        f"{round_.used_cores['gateway-0']:.2f}",
        ends,
    ]

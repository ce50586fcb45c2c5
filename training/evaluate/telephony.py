"""Telephone systems' evaluation, `make telephony`, `python -m training.evaluate.telephony`: all wires at once.

The recorded callers call a cluster over each wire, as its simulator speaks it, and then over gRPC, so many at once.
Printed are, for each, calls that ended well, right answers, the turnaround from a frame of the caller to the reply
frame of this number, gaps that a phone would have played, and frames that are missing. Right is what an independent
recogniser understands of the voice that came back, through the same telephone: of gRPC's, too.

Exit status: 0 every call ended well and nothing is missing, 1 it could not run, 3 not so, 130 interrupted.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence

import numpy as np

from benchmarks.telephony.grpc_phone import GrpcPhone
from benchmarks.telephony.phones import PHONES
from benchmarks.telephony.placed_call import PlacedCall
from benchmarks.telephony.run import environment, gateway_of, hold, plan, quantile_ms
from moshi_cluster.audio.frame import MODEL_RATE_HZ
from moshi_cluster.audio.pcm import Samples
from moshi_cluster.audio.spectral_resample import resample_recording
from moshi_cluster.cluster.recorded_callers import read
from moshi_cluster.cluster.running_cluster import exit_code, running_cluster, say
from training.evaluate.judge import Hear
from training.evaluate.recognise import Recogniser
from training.evaluate.sound import trimmed

EXIT_BROKEN = 3
_SPARE_SLOTS = 2
_COLUMNS = "{:<18}{:>7}{:>9}{:>13}{:>9}{:>9}{:>9}{:>6}{:>9}"


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wires", nargs="+", default=list(PHONES), choices=list(PHONES), help="all if absent")
    parser.add_argument("--calls", type=int, default=16, help="at once, 16 if absent")
    given = parser.parse_args(argv)
    return exit_code(lambda: _run(given.wires, given.calls))


def _run(wires: Sequence[str], at_once: int) -> int:
    recordings, variables = read(), environment(wires)
    mixed = plan({wire: PHONES[wire] for wire in wires}, recordings)
    rounds = -(-len(mixed) // len(recordings))
    alone = [call for _ in range(rounds) for call in plan({"grpc": GrpcPhone}, recordings)][: len(mixed)]
    with running_cluster(None, environment=variables, slots=at_once + _SPARE_SLOTS) as cluster:
        for what, calls in (("over all wires", mixed), ("over gRPC", alone)):
            say(f"{len(calls)} calls {what}, {at_once} at once")
            asyncio.run(hold(calls, gateway_of(cluster, variables), at_once))
    say("listening to the replies")
    print(_table(mixed, alone, wires))
    return EXIT_BROKEN if any(call.problem for call in (*mixed, *alone)) else 0


def _table(mixed: Sequence[PlacedCall], alone: Sequence[PlacedCall], wires: Sequence[str]) -> str:
    hear = Recogniser().hear_floats
    ears = {id(call): _right(call, hear) for call in (*mixed, *alone)}
    head = _COLUMNS.format("wire", "calls", "well", "right", "p50 ms", "p99 ms", "> 80 ms", "gaps", "missing")
    rows = [(wire, [call for call in mixed if call.wire == wire]) for wire in wires]
    lines = [_row(name, calls, ears) for name, calls in (*rows, ("all wires", mixed), ("gRPC alone", alone))]
    wide, narrow = _turnarounds(mixed), _turnarounds(alone)
    ratios = [f"{quantile_ms(wide, q) / quantile_ms(narrow, q):.2f}" for q in (0.5, 0.99)]
    problems = sorted({f"{call.wire}: {call.problem}" for call in (*mixed, *alone) if call.problem})
    return "\n".join([head, *lines, f"all wires / gRPC: p50 {ratios[0]}, p99 {ratios[1]}", *problems])


def _row(name: str, calls: Sequence[PlacedCall], ears: dict[int, int]) -> str:
    turnarounds = _turnarounds(calls)
    late = sum(value > 0.08 for value in turnarounds)
    return _COLUMNS.format(
        name,
        len(calls),
        sum(not call.problem for call in calls),
        f"{sum(ears[id(call)] for call in calls)} of {sum(call.recording.exchanges for call in calls)}",
        f"{quantile_ms(turnarounds, 0.5):.0f}",
        f"{quantile_ms(turnarounds, 0.99):.0f}",
        f"{late / max(1, len(turnarounds)):.1%}",
        sum(call.gaps for call in calls),
        sum(call.missing_frames for call in calls),
    )


def _turnarounds(calls: Sequence[PlacedCall]) -> list[float]:
    return [value for call in calls for value in call.turnaround_s]


def _right(call: PlacedCall, hear: Hear) -> int:
    """Questions whose answer is understood to be the right one; interrupted ones have none."""
    sound = _wide(call.phone.sound, call.phone.rate_hz)
    turns = list(call.recording.turns)
    ends = [*(turn["user_end_s"] for turn in turns[1:]), sound.size / MODEL_RATE_HZ]
    return sum(
        _heard(sound, turn["user_end_s"], end_s, hear) == turn["reply_text"]
        for turn, end_s in zip(turns, ends, strict=True)
        if not turn["interrupted"]
    )


def _wide(sound: Samples, rate_hz: int) -> Samples:
    if not sound.size or rate_hz == MODEL_RATE_HZ:
        return sound
    return resample_recording(sound, MODEL_RATE_HZ / rate_hz).astype(np.float32)


def _heard(sound: Samples, begin_s: float, end_s: float, hear: Hear) -> str:
    window = sound[int(begin_s * MODEL_RATE_HZ) : int(end_s * MODEL_RATE_HZ)]
    return hear(np.ascontiguousarray(trimmed(window)))


if __name__ == "__main__":
    sys.exit(main())

"""Live evaluation, `make eval`, `python -m training.evaluate.live`: a running cluster holds calls never trained on.

Callers speak through a telephone (mu-law, 8 kHz, packets of 20 ms, in real time). Counted are answers whose text is
exactly right, right answers that an independent recogniser understands, greetings, silence towards silent callers, and
interruptions after which Moshi is silent in time; then all of it is compared with the model card's figures.

The last line is the summary. Exit status: 0 the card's figures hold, 1 the run failed, 2 usage, 3 they do not hold, 130
interrupted.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from benchmarks.online.cluster import Cluster, local_cluster
from benchmarks.online.report import LoadReport
from moshi_cluster.cluster.default_checkpoint import DEFAULT_CHECKPOINT
from moshi_cluster.cluster.recorded_callers import RecordedCaller, read
from moshi_cluster.cluster.running_cluster import EXIT_FAILED, exit_code, say
from training.evaluate.calling import hold
from training.evaluate.figures import Card, Figures, broken, comparison, expected, figures_of, read_card, write_card
from training.evaluate.judge import HeldCall, judge
from training.evaluate.recognise import Recogniser
from training.evaluate.recorded_offline import hold_offline
from training.evaluate.recordings import NoSynthesiserError, made
from training.evaluate.report import EvaluationReport

EXIT_BROKEN = 3
_SPARE_SLOTS = 2  # a call that has just ended may hold its slot a little longer
_REPORT_EVERY_CALLS = 10


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = _parser()
    given = parser.parse_args(argv)
    if given.target and given.write:
        parser.error("--write takes the figures of a cluster of its own, not of --target")
    given.checkpoint = given.checkpoint or DEFAULT_CHECKPOINT
    try:
        return exit_code(lambda: _run(given))
    except NoSynthesiserError as error:
        say(f"error: {error}")
        return EXIT_FAILED


def _run(given: argparse.Namespace) -> int:
    recordings = read() if given.recorded else made(given.exchanges)
    exchanges = sum(recording.exchanges for recording in recordings)
    say(f"{exchanges} exchanges in {len(recordings)} calls")
    if given.offline:
        report, way = _offline(given.checkpoint, recordings), "offline"
    else:
        report, way = _live(given, recordings), "cluster"
    section = f"{way}, recorded" if given.recorded else way
    print(f"\n{report.table()}\n")
    if given.output:
        given.output.write_text(json.dumps(report.as_json(), indent=2) + "\n", encoding="utf-8")
    measured = figures_of(report)
    if given.write:
        write_card(given.checkpoint, section, measured)
    return _verdict(measured, read_card(given.checkpoint), section)


def _live(given: argparse.Namespace, recordings: Sequence[RecordedCaller]) -> EvaluationReport:
    with _cluster(given) as cluster:
        held = hold(cluster, recordings, given.callers)
    print(f"\n{_load(held.report, given.callers)}")
    return _judged(held.calls)


def _cluster(given: argparse.Namespace) -> AbstractContextManager[Cluster]:
    if given.target:
        return nullcontext(Cluster(given.target))
    return local_cluster(str(given.checkpoint), given.callers + _SPARE_SLOTS, {})


def _offline(checkpoint: Path, recordings: Sequence[RecordedCaller]) -> EvaluationReport:
    return _judged(hold_offline(checkpoint, recordings))


def _judged(calls: Sequence[HeldCall]) -> EvaluationReport:
    return judge(_with_progress(calls), Recogniser().hear_floats)


def _with_progress(calls: Sequence[HeldCall]) -> Iterator[HeldCall]:
    for number, call in enumerate(calls):
        if number % _REPORT_EVERY_CALLS == 0:
            say(f"listening to the replies: call {number} of {len(calls)}")
        yield call


def _load(load: LoadReport, callers: int) -> str:
    failed = load.calls.made - load.calls.ok
    return (
        f"{load.calls.made} calls by {callers} callers in {load.seconds:.0f} s, {failed} not ended well\n"
        f"turnaround p50 {load.turnaround_ms.p50:.1f}, p99 {load.turnaround_ms.p99:.1f} ms; frames filled in "
        f"{load.frames.filled}, dropped {load.frames.dropped}, deficit {load.frames.deficit}"
    )


def _verdict(measured: Figures, card: Card, section: str) -> int:
    print(f"{comparison(measured, card)}\n")
    reasons = broken(measured, expected(card, section))
    verdict = f"do NOT hold: {'; '.join(reasons)}" if reasons else "hold"
    right, understood = measured["right"], measured["understood"]
    print(f"{right} exactly right, {understood} of these understood: the model card's figures {verdict}")
    return EXIT_BROKEN if reasons else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training.evaluate.live",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--exchanges", type=int, default=500, help="how many to make up, 500 if absent")
    what.add_argument("--recorded", action="store_true", help="the recorded ones instead; needs no synthesiser")
    parser.add_argument("--callers", type=int, default=16, help="at once, 16 if absent")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--offline", action="store_true", help="the same calls without cluster and clock")
    where.add_argument("--target", metavar="HOST:PORT", help="a gateway that is there, with that checkpoint behind it")
    parser.add_argument("--checkpoint", type=Path, help="folder; the demo model if absent")
    parser.add_argument("--output", type=Path, metavar="JSON", help="everything counted, with every mistake")
    parser.add_argument("--write", action="store_true", help="make the results the figures of the model card")
    return parser


if __name__ == "__main__":
    sys.exit(main())

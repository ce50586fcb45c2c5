"""Answers are right or wrong: the recorded callers hold their calls with the real processes, all at once.

A session that is mixed up with another, a frame that is lost, a cache that is read at the wrong place: each of them
shows as wrong answers. `make eval` is the same with 500 exchanges.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from benchmarks.online.cluster import Cluster
from moshi_cluster.cluster.local_cluster import Layout, LocalCluster
from moshi_cluster.cluster.recorded_callers import RecordedCaller, read
from training.evaluate.answers import answers
from training.evaluate.calling import hold
from training.evaluate.figures import read_card
from training.evaluate.judge import HeldCall
from training.evaluate.report import Count

pytestmark = pytest.mark.cluster

# A busy test machine answers late, but nothing is filled in or dropped.
_PATIENT_MS = 2000
_ENVIRONMENT = {"MOSHI_GATEWAY_BACKLOG_FRAMES": "250"}


@pytest.fixture(scope="module")
def recordings() -> list[RecordedCaller]:
    return read()


@pytest.fixture(scope="module")
def cluster(checkpoint: Path, recordings: list[RecordedCaller]) -> Iterator[LocalCluster]:
    with LocalCluster(Layout(str(checkpoint), slots=len(recordings)), _ENVIRONMENT) as running:
        yield running


@pytest.fixture(scope="module")
def calls(cluster: LocalCluster, recordings: list[RecordedCaller]) -> Sequence[HeldCall]:
    """All of them at once, each caller hearing only what was sent to that caller."""
    found = Cluster(cluster.address(), [cluster.metrics_url(name) for name in cluster.names])
    held = hold(found, recordings, callers=len(recordings), jitter_allowance_ms=_PATIENT_MS)
    assert held.report.calls.ok == len(recordings)
    frames = held.report.frames
    assert (frames.filled, frames.dropped, frames.reply_dropped, frames.deficit) == (0, 0, 0, 0)
    return held.calls


def right_answers(calls: Sequence[HeldCall], recordings: Sequence[RecordedCaller]) -> Count:
    """Of what was said in each call, as answers to the questions of each recording."""
    count = Count()
    for call, recording in zip(calls, recordings, strict=True):
        for answer in answers(recording.turns, call.pieces):
            if not answer.interrupted:
                count.add(answer.right)
    return count


def test_everybody_gets_the_right_answers(
    calls: Sequence[HeldCall], recordings: list[RecordedCaller], checkpoint: Path
) -> None:
    count = right_answers(calls, recordings)
    promised = read_card(checkpoint)["offline, recorded"]["right"]  # the same calls without a cluster
    assert count.all == promised.all
    assert count.good >= promised.good - 1, f"{count} right, the model card says {promised}"  # other processors round


def test_nobody_gets_the_answers_of_another_caller(calls: Sequence[HeldCall], recordings: list[RecordedCaller]) -> None:
    own = right_answers(calls, recordings)
    for shift in range(1, len(calls)):
        mixed_up = right_answers([*calls[shift:], *calls[:shift]], recordings)
        assert mixed_up.good <= own.good / 4, f"{mixed_up} right with the calls mixed up, {own} as they are"

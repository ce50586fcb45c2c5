"""The real three processes, once for all whole-cluster tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from moshi_cluster.cluster.default_checkpoint import DEFAULT_CHECKPOINT
from moshi_cluster.cluster.local_cluster import Layout, LocalCluster

SLOTS = 8
# Together with what `callers.start` allows: a busy test machine answers late, but nothing is filled in or dropped.
PATIENT = {
    "MOSHI_GATEWAY_BACKLOG_FRAMES": "250",
    "MOSHI_GATEWAY_REPLY_BACKLOG_MS": "20000",
    "MOSHI_GATEWAY_MOVE_TIMEOUT_S": "0",
}


@pytest.fixture(scope="session")
def checkpoint() -> Path:
    """The demo model."""
    return DEFAULT_CHECKPOINT


@pytest.fixture(scope="session")
def cluster(checkpoint: Path) -> Iterator[LocalCluster]:
    """One gateway, one codec and one lm worker with SLOTS slots each; nothing that a test does to it may last."""
    with LocalCluster(Layout(str(checkpoint), slots=SLOTS), PATIENT) as running:
        yield running

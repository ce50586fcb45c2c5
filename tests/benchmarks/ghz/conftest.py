from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.ghz import generate
from moshi_cluster.cluster.default_checkpoint import DEFAULT_CHECKPOINT
from moshi_cluster.cluster.local_cluster import Layout, LocalCluster

SLOTS = 4
_ROOT = Path(__file__).resolve().parents[3]
_ENVIRONMENT = {
    "MOSHI_CODEC_MAX_BATCH": "4",
    "MOSHI_LM_MAX_BATCH": "4",
    # Below every scenario's limit: a slow test machine drops frames, it does not fail the calls.
    "MOSHI_GATEWAY_BACKLOG_FRAMES": "3",
}


@pytest.fixture(scope="session", autouse=True)
def data_files() -> None:
    """The files that the configurations name, where they are looked for."""
    generate.write_all(_ROOT / generate.FOLDER)


@pytest.fixture(autouse=True)
def in_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """Paths in the configurations are relative to the repository, as `make ghz` runs them."""
    monkeypatch.chdir(_ROOT)


@pytest.fixture(scope="session")
def cluster() -> Iterator[LocalCluster]:
    """Of SLOTS slots, for the scenarios."""
    with LocalCluster(Layout(str(DEFAULT_CHECKPOINT), slots=SLOTS), _ENVIRONMENT) as running:
        yield running

"""Checkpoints of a fleet: what its workers have loaded, and warnings where that is not the same or does not fit."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import NamedTuple

from moshi_cluster.services.common.code_shape import CodeShape
from moshi_cluster.services.gateway.workers.pool import WorkerPool

_log = logging.getLogger(__name__)


class _Loaded(NamedTuple):
    """What workers of a service have loaded."""

    service: str
    checkpoint: str
    codes: CodeShape | None


class CheckpointWatch:
    """Tells the operator, once each, of several checkpoints within one service and of services that do not fit."""

    def __init__(self, codec: WorkerPool, lm: WorkerPool) -> None:
        self._pools = (codec, lm)
        self._seen: dict[_Loaded, list[str]] = {}
        self._told: set[tuple[_Loaded, ...]] = set()

    def look(self) -> None:
        """Call whenever a worker has reported or is lost."""
        loaded = self._loaded()
        if loaded != self._seen:
            self._seen = loaded
            problems = dict((*self._unfit(), *self._mixed()))
            for problem in problems.keys() - self._told:
                _log.warning("%s: %s", problems[problem], "; ".join(map(self._describe, problem)))
            self._told = set(problems)

    def checkpoints(self, service: str) -> int:
        """How many different ones the service's workers have."""
        return len({loaded.checkpoint for loaded in self._seen if loaded.service == service})

    def _loaded(self) -> dict[_Loaded, list[str]]:
        """The addresses of the workers that take sessions, by what they have loaded."""
        loaded: dict[_Loaded, list[str]] = {}
        for pool in self._pools:
            for worker in pool.taking:
                loaded.setdefault(_Loaded(pool.service, worker.checkpoint, worker.codes), []).append(worker.address)
        return loaded

    def _unfit(self) -> Iterator[tuple[tuple[_Loaded, ...], str]]:
        codec, lm = ([each for each in self._seen if each.service == pool.service] for pool in self._pools)
        for one in codec:
            for other in lm:
                if one.codes != other.codes:
                    yield (one, other), "no call is placed on workers that do not fit each other"

    def _mixed(self) -> Iterator[tuple[tuple[_Loaded, ...], str]]:
        for each in self._seen:
            if self.checkpoints(each.service) > 1:
                yield (each,), "one of several checkpoints within a service"

    def _describe(self, loaded: _Loaded) -> str:
        addresses = ",".join(self._seen[loaded])
        return f"service={loaded.service} checkpoint={loaded.checkpoint} codes={loaded.codes} addresses={addresses}"

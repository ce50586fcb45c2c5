"""Checkpoints of a fleet: what its workers have loaded, and warnings where that is not the same or does not fit."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from moshi_cluster.services.common.code_shape import CodeShape
from moshi_cluster.services.gateway.workers.pool import WorkerPool

_log = logging.getLogger(__name__)
_SETTLED_S = 5.0  # without a change


class _Loaded(NamedTuple):
    """What workers of a service have loaded."""

    service: str
    checkpoint: str
    codes: CodeShape | None
    codec_checkpoint: str  # that belongs to an lm's; empty for a codec, and where it is not known


class CheckpointWatch:
    """Tells the operator, once each, of several checkpoints within one service, of services that do not fit, and of an
    lm that has to do without the codec of its own checkpoint.
    """

    def __init__(self, codec: WorkerPool, lm: WorkerPool, clock: Callable[[], float] = time.monotonic) -> None:
        """clock: in seconds."""
        self._pools = (codec, lm)
        self._clock = clock
        self._seen: dict[_Loaded, list[str]] = {}
        self._changed_s = clock()
        self._told: set[tuple[_Loaded, ...]] = set()

    def look(self) -> None:
        """Call whenever a worker has reported or is lost."""
        loaded = self._loaded()
        if loaded != self._seen:
            self._seen, self._changed_s = loaded, self._clock()
        problems = dict((*self._unfit(), *self._mixed(), *self._without_their_own()))
        for problem in problems.keys() - self._told:
            _log.warning("%s: %s", problems[problem], "; ".join(map(self._describe, problem)))
        self._told = set(problems)

    def checkpoints(self, service: str) -> int:
        """How many different ones the service's workers have."""
        return len({loaded.checkpoint for loaded in self._seen if loaded.service == service})

    @property
    def workers(self) -> dict[tuple[str, str], int]:
        """How many there are by service and checkpoint."""
        counts: dict[tuple[str, str], int] = {}
        for loaded, addresses in self._seen.items():
            key = loaded.service, loaded.checkpoint
            counts[key] = counts.get(key, 0) + len(addresses)
        return counts

    def _loaded(self) -> dict[_Loaded, list[str]]:
        """The addresses of the workers that take sessions, by what they have loaded."""
        loaded: dict[_Loaded, list[str]] = {}
        for pool in self._pools:
            for worker in pool.taking:
                model = _Loaded(pool.service, worker.checkpoint, worker.codes, worker.codec_checkpoint)
                loaded.setdefault(model, []).append(worker.address)
        return loaded

    def _of_each_service(self) -> tuple[list[_Loaded], ...]:
        return tuple([each for each in self._seen if each.service == pool.service] for pool in self._pools)

    def _without_their_own(self) -> Iterator[tuple[tuple[_Loaded, ...], str]]:
        """Codes mean one sound to one codec and another to the next: such a call may be heard as noise. While workers
        come up one after the other it means nothing yet.
        """
        if self._clock() - self._changed_s < _SETTLED_S:
            return
        codec, lm = self._of_each_service()
        for one in lm:
            fitting = [each for each in codec if each.codes == one.codes]
            if one.codec_checkpoint and fitting and one.codec_checkpoint not in (each.checkpoint for each in fitting):
                yield (one,), "no codec worker has the codec that belongs to this lm, others stand in for it"

    def _unfit(self) -> Iterator[tuple[tuple[_Loaded, ...], str]]:
        codec, lm = self._of_each_service()
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
        text = f"service={loaded.service} checkpoint={loaded.checkpoint} codes={loaded.codes} addresses={addresses}"
        return f"{text} codec_checkpoint={loaded.codec_checkpoint}" if loaded.codec_checkpoint else text

"""Placement of a call: which codec and lm workers it may be put on together, where it may move, and why nowhere."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from moshi_cluster.services.common.code_shape import CodeShape
from moshi_cluster.services.gateway.workers.pool import WorkerPool
from moshi_cluster.services.gateway.workers.worker import Worker


@dataclass(frozen=True)
class Placement:
    """Workers that a call may be placed on: of one checkpoint each, and both of one shape of codes."""

    codes: CodeShape | None = None
    """None: whatever they speak."""
    codec_checkpoint: str = ""
    """Fingerprint; empty: any."""
    lm_checkpoint: str = ""
    """Fingerprint; empty: any."""

    def suits_codec(self, worker: Worker) -> bool:
        """Whether the call may pass this codec."""
        return self.codes in (None, worker.codes) and self.codec_checkpoint in ("", worker.checkpoint)

    def suits_lm(self, worker: Worker) -> bool:
        """Whether the call may go on with this lm."""
        return self.codes in (None, worker.codes) and self.lm_checkpoint in ("", worker.checkpoint)


@dataclass(frozen=True)
class Successor:
    """Workers of a service that a call may move to: what they have loaded is what it has now, weights and shape."""

    checkpoint: str
    codes: CodeShape | None
    """As they were when the call's streams were opened: a worker that is lost has none."""
    leave: Worker | None = None
    """Who is not asked; None: the present one may be."""
    even_leaving: bool = False
    """Whether one that drains will do: for a call that has lost its worker, not for one whose worker drains itself."""

    def suits(self, worker: Worker) -> bool:
        """Whether the call may go on there."""
        same = worker.checkpoint == self.checkpoint and worker.codes == self.codes
        return same and worker is not self.leave and (self.even_leaving or not worker.is_draining)


class _Model(NamedTuple):
    """What several workers of a service have loaded."""

    codes: CodeShape
    checkpoint: str
    codec_checkpoint: str  # that belongs to it, empty for a codec


def placements(codec: WorkerPool, lm: WorkerPool, lm_checkpoint: str) -> list[Placement]:
    """One for each pair of checkpoints that speak the same codes. Those that belong together first, then by free slots;
    those without a free slot on either side last, for to try them takes one on the other side for a moment.

    lm_checkpoint: the only one that will do; empty: any.
    """
    codecs = _free_slots(codec.usable)
    lms = _free_slots(worker for worker in lm.usable if lm_checkpoint in ("", worker.checkpoint))
    pairs = [(one, other) for one in codecs for other in lms if one.codes == other.codes]

    def order(pair: tuple[_Model, _Model]) -> tuple[bool, bool, int]:
        free_slots = min(codecs[pair[0]], lms[pair[1]])
        return free_slots <= 0, pair[0].checkpoint != pair[1].codec_checkpoint, -free_slots

    return [Placement(one.codes, one.checkpoint, other.checkpoint) for one, other in sorted(pairs, key=order)]


def why_nowhere(codec: WorkerPool, lm: WorkerPool, lm_checkpoint: str = "") -> str:
    """What a caller is told whose call cannot be placed."""
    for pool in (codec, lm):
        if not pool.taking:
            return f"no {pool.service} worker is within reach"
    if lm_checkpoint and lm.usable:
        return "no lm worker with the conversation's checkpoint is within reach"
    return "the codec and the lm workers have different checkpoints and do not fit each other"


def _free_slots(workers: Iterable[Worker]) -> dict[_Model, int]:
    """By what they have loaded."""
    free: dict[_Model, int] = {}
    for worker in workers:
        if worker.codes is not None:
            model = _Model(worker.codes, worker.checkpoint, worker.codec_checkpoint)
            free[model] = free.get(model, 0) + worker.free_slots
    return free

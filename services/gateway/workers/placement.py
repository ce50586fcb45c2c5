"""Placement of a call: which codec and lm workers it may be put on together, and why there are none."""

from __future__ import annotations

from dataclasses import dataclass

from moshi_cluster.services.common.code_shape import CodeShape
from moshi_cluster.services.gateway.workers.pool import WorkerPool
from moshi_cluster.services.gateway.workers.worker import Worker


@dataclass(frozen=True)
class Placement:
    """Workers that a call may be placed on: both of one shape of codes, the lm of the conversation's checkpoint."""

    codes: CodeShape | None = None
    """None: whatever they speak."""
    lm_checkpoint: str = ""
    """Fingerprint; empty: a conversation that begins may be placed on any."""

    def suits_codec(self, worker: Worker) -> bool:
        """Whether the call may pass this codec."""
        return self.codes in (None, worker.codes)

    def suits_lm(self, worker: Worker) -> bool:
        """Whether the call may go on with this lm."""
        return self.codes in (None, worker.codes) and self.lm_checkpoint in ("", worker.checkpoint)


def placements(codec: WorkerPool, lm: WorkerPool, lm_checkpoint: str) -> list[Placement]:
    """One for each shape of codes that both services speak, most free slots first. Usually there is one shape."""
    suitable = [worker for worker in lm.usable if lm_checkpoint in ("", worker.checkpoint)]
    codecs = _free_slots(codec.usable)
    lms = _free_slots(suitable)
    shared = sorted(codecs.keys() & lms.keys(), key=lambda codes: -min(codecs[codes], lms[codes]))
    return [Placement(codes, lm_checkpoint) for codes in shared]


def why_nowhere(codec: WorkerPool, lm: WorkerPool, lm_checkpoint: str = "") -> str:
    """What a caller is told whose call cannot be placed."""
    for pool in (codec, lm):
        if not pool.taking:
            return f"no {pool.service} worker is within reach"
    if lm_checkpoint and lm.usable:
        return "no lm worker with the conversation's checkpoint is within reach"
    return "the codec and the lm workers have different checkpoints and do not fit each other"


def _free_slots(workers: list[Worker]) -> dict[CodeShape, int]:
    """By what they speak."""
    free: dict[CodeShape, int] = {}
    for worker in workers:
        if worker.codes is not None:
            free[worker.codes] = free.get(worker.codes, 0) + worker.free_slots
    return free

"""Elsewhere: other workers for calls that are up and have to leave theirs."""

from __future__ import annotations

from collections.abc import Callable

from moshi_cluster.services.gateway.workers.move_turns import MoveTurns
from moshi_cluster.services.gateway.workers.pool import WorkerPool
from moshi_cluster.services.gateway.workers.streams import (
    CodecStreams,
    EncodeStream,
    LastFrames,
    LmStream,
    open_codec,
    open_lm,
)
from moshi_cluster.services.gateway.workers.worker import Worker


class Elsewhere:
    """Opens streams like those that a call has, on workers of the same checkpoint."""

    def __init__(self, codec: WorkerPool, lm: WorkerPool) -> None:
        self.codec_turns = MoveTurns()
        self.lm_turns = MoveTurns()
        self._codec = codec
        self._lm = lm

    async def codec_streams(self, like: EncodeStream, leave: bool) -> CodecStreams:
        """Both streams of a codec. leave: not on the worker that they are on. Raises NoFreeSlot or Unavailable."""
        return await self._codec.acquire(open_codec, _suits(like.checkpoint, like.worker if leave else None))

    async def lm_stream(self, like: LmStream, history: LastFrames, leave: bool) -> LmStream:
        """A session with the same sampling. history: called when it is sent. Raises NoFreeSlot or Unavailable."""
        return await self._lm.acquire(
            lambda worker: open_lm(worker, like.sampling, history),
            _suits(like.checkpoint, like.worker if leave else None),
        )


def _suits(checkpoint: str, left: Worker | None) -> Callable[[Worker], bool]:
    return lambda worker: worker.checkpoint == checkpoint and worker is not left

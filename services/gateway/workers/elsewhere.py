"""Elsewhere: other workers for calls that are up and have to leave theirs."""

from __future__ import annotations

from typing import Any

from moshi_cluster.services.gateway.workers.move_turns import MoveTurns
from moshi_cluster.services.gateway.workers.opening import LastFrames, Opening
from moshi_cluster.services.gateway.workers.placement import Successor
from moshi_cluster.services.gateway.workers.pool import WorkerPool
from moshi_cluster.services.gateway.workers.streams import (
    CodecStreams,
    EncodeStream,
    LmStream,
    WorkerStream,
    open_codec,
    open_lm,
)


class Elsewhere:
    """Opens streams like those that a call has, on workers of the same checkpoint and codes."""

    def __init__(self, codec: WorkerPool, lm: WorkerPool) -> None:
        self.codec_turns = MoveTurns()
        self.lm_turns = MoveTurns()
        self._codec = codec
        self._lm = lm

    async def codec_streams(self, like: EncodeStream, leave: bool) -> CodecStreams:
        """Both streams of a codec. leave: not on the worker that they are on. Raises NoFreeSlot or Unavailable."""
        return await self._codec.acquire(open_codec, _successor(like, leave).suits)

    async def lm_stream(self, like: LmStream, history: LastFrames, leave: bool) -> LmStream:
        """A session with the same sampling and persona. history: called when it is sent.

        Raises NoFreeSlot or Unavailable.
        """
        return await self._lm.acquire(
            lambda worker: open_lm(worker, Opening(like.sampling, history, like.persona)),
            _successor(like, leave).suits,
        )


def _successor(like: WorkerStream[Any], leave: bool) -> Successor:
    """Who leaves a worker although it is there does not go to one that drains, or two of those would pass calls to and
    fro.
    """
    return Successor(like.checkpoint, like.codes, like.worker if leave else None, even_leaving=not leave)

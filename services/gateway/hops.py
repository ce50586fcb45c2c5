"""A call's three streams to its workers, each one frame in, one frame out."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

import grpc

from moshi_cluster.v1 import codec_pb2, codec_pb2_grpc, common_pb2, lm_pb2, lm_pb2_grpc
from services.common.errors import NoFreeSlot, SessionError, Unavailable
from services.common.rpc import SLOT_HELD
from services.gateway.workers import Worker, WorkerPool

_HELD_WITHIN_S = 2.0  # a worker says at once whether it has a slot

_REFUSALS: dict[grpc.StatusCode, Callable[[str], SessionError]] = {
    grpc.StatusCode.OK: Unavailable,  # it ended the stream although frames were still to come
    grpc.StatusCode.RESOURCE_EXHAUSTED: NoFreeSlot,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    grpc.StatusCode.CANCELLED: Unavailable,
    grpc.StatusCode.INTERNAL: Unavailable,  # the worker's engine failed; another may serve
}


class Hop:
    """One open stream with a slot behind it."""

    def __init__(self, name: str, stream: Any) -> None:
        """name: encode, lm or decode. stream: a grpc.aio stream-stream call."""
        self.name = name
        self._stream = stream
        self._sent_frames = 0

    async def write(self, message: Any) -> None:
        """Sends one message. Raises SessionError when the worker is lost."""
        try:
            await self._stream.write(message)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            raise await self._error() from None

    async def read(self) -> Any:
        """The next message, None once the stream has ended well. Raises SessionError when the worker is lost."""
        try:
            message = await self._stream.read()
        except grpc.aio.AioRpcError:
            raise await self._error() from None
        return None if message is grpc.aio.EOF else message

    async def done_writing(self) -> None:
        """Half-closes: the worker answers what is in flight and ends. On a lost stream the next read says why."""
        with contextlib.suppress(grpc.aio.InternalError):
            await self._stream.done_writing()

    def cancel(self) -> None:
        """Gives the slot back at once."""
        self._stream.cancel()

    def next_frame_index(self) -> int:
        """Numbers the frames of the stream."""
        self._sent_frames += 1
        return self._sent_frames - 1

    async def until_held(self) -> None:
        """Returns once the worker holds a slot. Raises NoFreeSlot or Unavailable when it refuses or does not answer."""
        try:
            async with asyncio.timeout(_HELD_WITHIN_S):
                metadata = await self._stream.initial_metadata()
        except TimeoutError:
            raise Unavailable(f"{self.name}: the worker does not answer") from None
        if dict(metadata or ()).get(SLOT_HELD[0][0]) is None:
            raise await self._error()

    async def _error(self) -> SessionError:
        code = await self._stream.code()
        text = f"{self.name}: {await self._stream.details() or code.name}"
        return _REFUSALS[code](text) if code in _REFUSALS else SessionError(text)


class Hops:
    """The three streams of a call, opened together."""

    def __init__(self, encode: Hop, lm: Hop, decode: Hop) -> None:
        self.encode = encode
        self.lm = lm
        self.decode = decode

    @staticmethod
    async def open(codec: WorkerPool, lm: WorkerPool, sampling: common_pb2.Sampling) -> Hops:
        """Takes a slot on each hop, or none: on failure whatever was taken is given back.

        Raises NoFreeSlot or Unavailable.
        """
        opening = [
            asyncio.ensure_future(codec.acquire(_open_encode)),
            asyncio.ensure_future(lm.acquire(lambda worker: _open_lm(worker, sampling))),
            asyncio.ensure_future(codec.acquire(_open_decode)),
        ]
        try:
            return Hops(*await asyncio.gather(*opening))
        except BaseException:
            await _give_back(opening)
            raise

    def cancel(self) -> None:
        """Gives all slots back at once."""
        for hop in (self.encode, self.lm, self.decode):
            hop.cancel()


def pcm_message(hop: Hop, pcm_f32le: bytes) -> codec_pb2.PcmFrame:
    """The next frame for the encoder."""
    return codec_pb2.PcmFrame(pcm_f32le=pcm_f32le, frame_index=hop.next_frame_index())


def user_message(hop: Hop, codes: Iterable[int]) -> lm_pb2.GenerateRequest:
    """The next frame for the lm."""
    frame = lm_pb2.GenerateRequest.UserFrame(codes=codes, frame_index=hop.next_frame_index())
    return lm_pb2.GenerateRequest(frame=frame)


def codes_message(hop: Hop, codes: Iterable[int]) -> codec_pb2.CodeFrame:
    """The next frame for the decoder."""
    return codec_pb2.CodeFrame(codes=codes, frame_index=hop.next_frame_index())


async def _open_encode(worker: Worker) -> Hop:
    return await _held(Hop("encode", codec_pb2_grpc.CodecStub(worker.channel).Encode()))


async def _open_decode(worker: Worker) -> Hop:
    return await _held(Hop("decode", codec_pb2_grpc.CodecStub(worker.channel).Decode()))


async def _open_lm(worker: Worker, sampling: common_pb2.Sampling) -> Hop:
    async def open_session(hop: Hop) -> None:
        request = lm_pb2.GenerateRequest(open=lm_pb2.GenerateRequest.Open(sampling=sampling))
        await hop.write(request)
        await hop.until_held()
        opened = await hop.read()
        if opened is None or opened.WhichOneof("message") != "opened":
            raise Unavailable("lm: the worker did not open the session")

    return await _held(Hop("lm", lm_pb2_grpc.LmStub(worker.channel).Generate()), open_session)


async def _held(hop: Hop, open_session: Callable[[Hop], Awaitable[None]] = Hop.until_held) -> Hop:
    try:
        await open_session(hop)
    except BaseException:
        hop.cancel()
        raise
    return hop


async def _give_back(opening: Sequence[asyncio.Future[Hop]]) -> None:
    for task in opening:
        task.cancel()
        task.add_done_callback(_cancel_opened)  # also when this wait is cancelled
    await asyncio.gather(*opening, return_exceptions=True)


def _cancel_opened(task: asyncio.Future[Hop]) -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().cancel()

"""A call's three streams to its workers, each one frame in, one frame out."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import grpc

from moshi_cluster.services.common.errors import NoFreeSlot, SessionError, Unavailable
from moshi_cluster.services.common.mux.client import MuxStream, StreamEnded
from moshi_cluster.services.gateway.workers.pool import Worker, WorkerPool
from moshi_cluster.v1 import codec_pb2, common_pb2, lm_pb2

_HELD_WITHIN_S = 2.0  # a worker says at once whether it has a slot
# And has a session without a history ready in a fraction of a second; of dozens at once each takes a step's time.
# Half of the default `open_timeout_s`, so that another worker can still be asked.
_NEW_WITHIN_S = 5.0

_REFUSALS: dict[grpc.StatusCode, Callable[[str], SessionError]] = {
    grpc.StatusCode.OK: Unavailable,  # it ended the stream although frames were still to come
    grpc.StatusCode.RESOURCE_EXHAUSTED: NoFreeSlot,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    grpc.StatusCode.CANCELLED: Unavailable,
    grpc.StatusCode.INTERNAL: Unavailable,  # the worker's engine failed; another may serve
}


class WorkerStream:
    """One open stream with a slot behind it."""

    def __init__(self, name: str, stream: MuxStream, checkpoint: str = "") -> None:
        """name: encode, lm or decode. checkpoint: fingerprint of what the worker has loaded."""
        self.name = name
        self.checkpoint = checkpoint
        self._stream = stream
        self._sent_frames = 0

    async def write(self, message: Any) -> None:
        """Sends one message. Raises SessionError when the worker is lost."""
        with self._session_errors():
            await self._stream.write(message)

    async def read(self) -> Any:
        """The next message, None once the stream has ended well. Raises SessionError when the worker is lost."""
        with self._session_errors():
            return await self._stream.read()

    def done_writing(self) -> None:
        """Half-closes: the worker answers what is in flight and ends. On a lost stream the next read says why."""
        self._stream.done_writing()

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
                with self._session_errors():
                    await self._stream.until_held()
        except TimeoutError:
            raise Unavailable(f"{self.name}: the worker does not answer") from None

    @contextlib.contextmanager
    def _session_errors(self) -> Iterator[None]:
        """What the end of a stream means to the call."""
        try:
            yield
        except StreamEnded as ended:
            text = f"{self.name}: {ended}"
            raise _REFUSALS[ended.code](text) if ended.code in _REFUSALS else SessionError(text) from None


class LmStream(WorkerStream):
    """The one that samples."""

    sampling = common_pb2.Sampling()
    """What is in use, once the session is open."""


@dataclass(frozen=True)
class _CodecStreams:
    """Where the caller's voice becomes codes, and Moshi's codes a voice."""

    encode: WorkerStream
    decode: WorkerStream

    def cancel(self) -> None:
        """Gives both slots back at once."""
        self.encode.cancel()
        self.decode.cancel()


class CallStreams:
    """The three streams of a call, opened together."""

    def __init__(self, encode: WorkerStream, lm: LmStream, decode: WorkerStream) -> None:
        self.encode = encode
        self.lm = lm
        self.decode = decode

    @staticmethod
    async def open(
        codec: WorkerPool, lm: WorkerPool, sampling: common_pb2.Sampling, history: Sequence[lm_pb2.HistoryFrame] = ()
    ) -> CallStreams:
        """Takes a slot on each hop, or none: on failure whatever was taken is given back.

        history: what was said before, oldest frame first. Raises NoFreeSlot or Unavailable.
        """
        request = lm_pb2.GenerateRequest(open=lm_pb2.GenerateRequest.Open(sampling=sampling, history=history))
        both_ways = asyncio.ensure_future(codec.acquire(_open_codec))
        generate = asyncio.ensure_future(lm.acquire(lambda worker: _open_lm(worker, request)))
        try:
            ends, generator = await asyncio.gather(both_ways, generate)
        except BaseException:
            await _give_back((both_ways, generate))
            raise
        return CallStreams(ends.encode, generator, ends.decode)

    def cancel(self) -> None:
        """Gives all slots back at once."""
        for hop in (self.encode, self.lm, self.decode):
            hop.cancel()


def pcm_message(hop: WorkerStream, pcm_f32le: bytes) -> codec_pb2.PcmFrame:
    """The next frame for the encoder."""
    return codec_pb2.PcmFrame(pcm_f32le=pcm_f32le, frame_index=hop.next_frame_index())


def user_message(hop: WorkerStream, codes: Iterable[int]) -> lm_pb2.GenerateRequest:
    """The next frame for the lm."""
    frame = lm_pb2.GenerateRequest.UserFrame(codes=codes, frame_index=hop.next_frame_index())
    return lm_pb2.GenerateRequest(frame=frame)


def codes_message(hop: WorkerStream, codes: Iterable[int]) -> codec_pb2.CodeFrame:
    """The next frame for the decoder."""
    return codec_pb2.CodeFrame(codes=codes, frame_index=hop.next_frame_index())


async def _open_codec(worker: Worker) -> _CodecStreams:
    """Both ends on one worker: its two tables of slots fill alike, and a lost worker ends only its own calls."""
    to_codes = worker.mux.open("/moshi_cluster.v1.Codec/Encode", codec_pb2.CodeFrame)
    to_pcm = worker.mux.open("/moshi_cluster.v1.Codec/Decode", codec_pb2.PcmFrame)
    ends = _CodecStreams(
        WorkerStream("encode", to_codes, worker.checkpoint), WorkerStream("decode", to_pcm, worker.checkpoint)
    )
    try:
        await ends.encode.until_held()
        await ends.decode.until_held()
    except BaseException:
        ends.cancel()
        raise
    return ends


async def _open_lm(worker: Worker, request: lm_pb2.GenerateRequest) -> LmStream:
    hop = LmStream("lm", worker.mux.open("/moshi_cluster.v1.Lm/Generate", lm_pb2.GenerateResponse), worker.checkpoint)
    try:
        await hop.write(request)
        await hop.until_held()
        hop.sampling = await _opened(hop, None if request.open.history else _NEW_WITHIN_S)
    except BaseException:
        hop.cancel()
        raise
    return hop


async def _opened(hop: LmStream, within_s: float | None) -> common_pb2.Sampling:
    """What the session samples by. A history may take as long as the whole call may take to open."""
    try:
        async with asyncio.timeout(within_s):
            opened = await hop.read()
    except TimeoutError:
        raise Unavailable("lm: the worker's engine does not answer") from None
    if opened is None or opened.WhichOneof("message") != "opened":
        raise Unavailable("lm: the worker did not open the session")
    sampling: common_pb2.Sampling = opened.opened.sampling
    return sampling


async def _give_back(opening: Sequence[asyncio.Future[Any]]) -> None:
    for task in opening:
        task.cancel()
        task.add_done_callback(_cancel_opened)  # also when this wait is cancelled
    await asyncio.gather(*opening, return_exceptions=True)


def _cancel_opened(task: asyncio.Future[Any]) -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().cancel()

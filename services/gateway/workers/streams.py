"""Worker streams: a call's three streams to its workers, each one frame in, one frame out."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic

import grpc
from google.protobuf.message import Message

from moshi_cluster.audio.pcm import Samples
from moshi_cluster.services.common import prompts
from moshi_cluster.services.common.errors import InvalidInput, NoFreeSlot, SessionError, Unavailable
from moshi_cluster.services.common.mux.client import MuxStream, StreamEnded
from moshi_cluster.services.common.session_stream import Response
from moshi_cluster.services.gateway.workers.opening import NOBODY, Opening, OpeningLimits
from moshi_cluster.services.gateway.workers.placement import Placement
from moshi_cluster.services.gateway.workers.pool import WorkerPool
from moshi_cluster.services.gateway.workers.worker import Worker
from moshi_cluster.v1 import codec_pb2, common_pb2, lm_pb2

_LOST = (
    grpc.StatusCode.OK,  # it ended the stream although frames were still to come
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.INTERNAL,  # the worker's engine failed; another may serve
)


_LIMITS = OpeningLimits()
_ANYWHERE = Placement()


class WorkerStream(Generic[Response]):
    """An open stream with a slot behind it. Sending and reading raise SessionError when the worker is lost.

    Sending never waits: `until_writable` does, and who sends more than a few frames at once asks it first.
    """

    name: ClassVar[str]
    """The hop: encode, lm or decode."""

    def __init__(self, stream: MuxStream[Response], worker: Worker) -> None:
        self.worker = worker
        """Who carries it."""
        self.checkpoint = worker.checkpoint
        """Fingerprint of what the worker had loaded when the stream was opened."""
        self.codes = worker.codes
        """What it spoke then."""
        self._stream = stream
        self._sent_frames = 0

    async def read(self) -> Response | None:
        """The next message, None once the stream has ended well."""
        try:
            return await self._stream.read()
        except StreamEnded as ended:
            raise self._error(ended) from None

    def done_writing(self) -> None:
        """Half-closes: the worker answers what is in flight and ends. On a lost stream the next read says why."""
        self._stream.done_writing()

    def cancel(self) -> None:
        """Gives the slot back at once."""
        self._stream.cancel()

    async def until_held(self, timeout_s: float) -> None:
        """Returns once the worker holds a slot. Raises NoFreeSlot or Unavailable when it refuses or does not answer."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._stream.until_held()
        except StreamEnded as ended:
            raise self._error(ended) from None
        except TimeoutError:
            raise self.unavailable("does not answer") from None

    def unavailable(self, what: str) -> Unavailable:
        """The error of a call that cannot go on with this stream. what: the worker does or has done."""
        return self.worker.unavailable(f"{self.name}: the {self.worker.service} worker {what}")

    async def until_writable(self) -> None:
        """Returns once the worker has taken enough that another frame may be sent."""
        await self._stream.until_writable()

    def _put(self, message: Message) -> None:
        try:
            self._stream.put(message)
        except StreamEnded as ended:
            raise self._error(ended) from None

    def _next_frame_index(self) -> int:
        self._sent_frames += 1
        return self._sent_frames - 1

    def _error(self, ended: StreamEnded) -> SessionError:
        """What the end of a stream means to the call."""
        if ended.code is grpc.StatusCode.INVALID_ARGUMENT and str(ended).startswith(prompts.FIELD):
            name, _, problem = str(ended).partition(": ")
            figures = {key: value for key, value in ended.figures.items() if key != "field"}
            return InvalidInput(f"start.{name.removeprefix('open.')}", problem, **figures)
        if ended.code in _LOST:
            return self.worker.unavailable(f"{self.name}: {ended}")
        refusal = NoFreeSlot if ended.code is grpc.StatusCode.RESOURCE_EXHAUSTED else SessionError
        return refusal(f"{self.name}: {ended}")


class EncodeStream(WorkerStream[codec_pb2.CodeFrame]):
    """The caller's voice becomes codes."""

    name = "encode"

    def send_pcm(self, pcm: Samples) -> None:
        """Sends the caller's next frame, float32 [1920]."""
        self._put(codec_pb2.PcmFrame(pcm_f32le=pcm.tobytes(), frame_index=self._next_frame_index()))


class LmStream(WorkerStream[lm_pb2.GenerateResponse]):
    """The caller's codes become Moshi's codes and text."""

    name = "lm"
    sampling = common_pb2.Sampling()
    """What is in use, once the session is open."""
    persona = NOBODY
    """In use, too."""
    ignored_prompts = False
    """Whether there was one that the model does not take."""

    async def read(self) -> lm_pb2.GenerateResponse | None:
        """As of any stream; a go-away is left out: the worker's reports say it too, and the codec's."""
        while (message := await super().read()) is not None and message.WhichOneof("message") == "go_away":
            pass
        return message

    def send_open(self, request: lm_pb2.GenerateRequest.Open) -> None:
        """Says what the session is, before anything else."""
        self._put(lm_pb2.GenerateRequest(open=request))

    def send_codes(self, codes: Iterable[int]) -> None:
        """Sends the caller's next frame of codes."""
        frame = lm_pb2.GenerateRequest.UserFrame(codes=codes, frame_index=self._next_frame_index())
        self._put(lm_pb2.GenerateRequest(frame=frame))


class DecodeStream(WorkerStream[codec_pb2.PcmFrame]):
    """Moshi's codes become a voice."""

    name = "decode"

    def send_codes(self, codes: Iterable[int]) -> None:
        """Sends Moshi's next frame of codes."""
        self._put(codec_pb2.CodeFrame(codes=codes, frame_index=self._next_frame_index()))


@dataclass(frozen=True)
class CodecStreams:
    """A call's two streams to its codec."""

    encode: EncodeStream
    decode: DecodeStream

    def cancel(self) -> None:
        """Gives both slots back at once."""
        self.encode.cancel()
        self.decode.cancel()


class CallStreams:
    """The three streams of a call, opened together."""

    def __init__(self, encode: EncodeStream, lm: LmStream, decode: DecodeStream) -> None:
        self.encode = encode
        self.lm = lm
        self.decode = decode

    @staticmethod
    async def open(
        codec: WorkerPool,
        lm: WorkerPool,
        session: Opening,
        limits: OpeningLimits = _LIMITS,
        placement: Placement = _ANYWHERE,
    ) -> CallStreams:
        """Takes three slots or none: on failure whatever was taken is given back.

        Raises NoFreeSlot, Unavailable, or InvalidInput for a persona that the model does not take.
        """
        opening = (
            codec.acquire(lambda worker: open_codec(worker, limits), placement.suits_codec),
            lm.acquire(lambda worker: open_lm(worker, session, limits), placement.suits_lm),
        )
        both_ways, generate = asyncio.ensure_future(opening[0]), asyncio.ensure_future(opening[1])
        try:
            ends, generator = await asyncio.gather(both_ways, generate)
        except BaseException:
            await _give_back((both_ways, generate))
            raise
        return CallStreams(ends.encode, generator, ends.decode)

    @property
    def workers(self) -> tuple[Worker, ...]:
        """Who carries the call."""
        return self.encode.worker, self.lm.worker

    def replace(self, stream: WorkerStream[Any]) -> None:
        """Another worker's stream takes the place of the one of its hop, which is given back."""
        old: WorkerStream[Any] = getattr(self, stream.name)
        setattr(self, stream.name, stream)
        old.cancel()

    def cancel(self) -> None:
        """Gives all slots back at once."""
        for stream in (self.encode, self.lm, self.decode):
            stream.cancel()


async def open_codec(worker: Worker, limits: OpeningLimits = _LIMITS) -> CodecStreams:
    """Both ends on one worker: its two tables of slots fill alike, and a lost worker ends only its own calls."""
    ends = CodecStreams(
        EncodeStream(worker.mux.open("/moshi_cluster.v1.Codec/Encode", codec_pb2.CodeFrame), worker),
        DecodeStream(worker.mux.open("/moshi_cluster.v1.Codec/Decode", codec_pb2.PcmFrame), worker),
    )
    try:
        await ends.encode.until_held(limits.held_s)
        await ends.decode.until_held(limits.held_s)
    except BaseException:
        ends.cancel()
        raise
    return ends


async def open_lm(worker: Worker, session: Opening, limits: OpeningLimits = _LIMITS) -> LmStream:
    """A session with as much of the history as the worker looks back on: more would cost its other sessions time."""
    try:
        return await _open_lm(worker, session, session.persona, limits)
    except InvalidInput as error:
        if not session.ignores_prompts or not str(error).endswith(prompts.NO_PROMPTS):
            raise
    stream = await _open_lm(worker, session, NOBODY, limits)
    stream.ignored_prompts = True
    return stream


async def _open_lm(worker: Worker, session: Opening, persona: common_pb2.Persona, limits: OpeningLimits) -> LmStream:
    earlier_frames, frames = session.history(worker.context_frames)
    request = lm_pb2.GenerateRequest.Open(
        sampling=session.sampling, history=frames, earlier_frames=earlier_frames, persona=persona
    )
    stream = LmStream(worker.mux.open("/moshi_cluster.v1.Lm/Generate", lm_pb2.GenerateResponse), worker)
    try:
        stream.send_open(request)
        await stream.until_held(limits.held_s)
        reads = bool(request.history) or persona != NOBODY
        stream.sampling = await _opened(stream, None if reads else limits.ready_s)
        stream.persona = persona
    except BaseException:
        stream.cancel()
        raise
    return stream


async def _opened(stream: LmStream, timeout_s: float | None) -> common_pb2.Sampling:
    """What the session samples by. A history may take as long as the whole call may take to open."""
    try:
        async with asyncio.timeout(timeout_s):
            opened = await stream.read()
    except TimeoutError:
        raise stream.unavailable("does not open the session") from None
    if opened is None or opened.WhichOneof("message") != "opened":
        raise stream.unavailable("did not open the session")
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

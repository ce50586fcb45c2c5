"""Pipeline of a call: its frames on their way through the workers.

    source -> encode -> lm -> decode -> sink

Every frame passes each hop exactly once and in order, on whichever workers: see MovableStream and Mover.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import NoReturn

import numpy as np

from moshi_cluster.audio.pcm import Samples
from moshi_cluster.services.gateway.calls.history import History
from moshi_cluster.services.gateway.calls.hop_times import HopTimes
from moshi_cluster.services.gateway.calls.ingress import UserFrame
from moshi_cluster.services.gateway.calls.movable_stream import MovableStream
from moshi_cluster.services.gateway.calls.mover import MoveListener, MovePlan, Mover, MoveReason
from moshi_cluster.services.gateway.workers.elsewhere import Elsewhere
from moshi_cluster.services.gateway.workers.streams import (
    CallStreams,
    CodecStreams,
    DecodeStream,
    EncodeStream,
    LmStream,
)
from moshi_cluster.v1 import lm_pb2

_LOOK_S = 0.1  # a worker that hangs is found out so much later at most

Source = Callable[[], Awaitable[UserFrame | None]]  # the next frame, None after the last
Sink = Callable[[UserFrame, Samples], None]  # a frame and its reply [1920]


class Pipeline:
    """The tasks between one call and its workers. Bounded by the source, which limits what is in flight."""

    def __init__(
        self,
        streams: CallStreams,
        elsewhere: Elsewhere,
        history: History,
        times: HopTimes,
        source: Source,
        sink: Sink,
        plan: MovePlan,
        listener: MoveListener,
    ) -> None:
        """elsewhere: where the streams go on when they have to. history: gets every frame that the lm has answered.

        times: what each hop took. plan: of the moves. listener: told what becomes of the streams.
        """
        self._streams = streams
        self._elsewhere = elsewhere
        self._history = history
        self._times = times
        self._source = source
        self._sink = sink
        self._encode = MovableStream(streams.encode, _send_pcm, plan.encode_frames)
        self._lm = MovableStream(streams.lm, _send_user_codes, same=_is_same_reply)
        self._decode = MovableStream(streams.decode, _send_moshi_codes, plan.decode_frames)
        codec = (self._encode, self._decode)
        replace = streams.replace
        self._movers = (
            Mover("codec", codec, self._open_codec, replace, elsewhere.codec_turns, plan, listener),
            Mover("lm", (self._lm,), self._open_lm, replace, elsewhere.lm_turns, plan, listener),
        )

    async def run(self) -> None:
        """Returns once the source has ended and every frame is answered.

        Raises Unavailable when a worker is lost and no other takes its place.
        """
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._source_to_encode())
            tasks.create_task(self._encode_to_lm())
            tasks.create_task(self._lm_to_decode())
            beside = [tasks.create_task(work) for work in (self._watch(), *(mover.run() for mover in self._movers))]
            await self._decode_to_sink()
            for task in beside:
                task.cancel()

    async def _source_to_encode(self) -> None:
        while (frame := await self._source()) is not None:
            await self._encode.send(frame)
        self._encode.done_writing()

    async def _encode_to_lm(self) -> None:
        while (answered := await self._encode.read()) is not None:
            frame, reply = answered
            self._note(frame, "encode")
            frame.user_codes = tuple(reply.codes)
            await self._lm.send(frame)
        self._lm.done_writing()

    async def _lm_to_decode(self) -> None:
        while (answered := await self._lm.read()) is not None:
            frame, message = answered
            reply = message.frame
            self._note(frame, "lm")
            frame.text_token, frame.text_piece = reply.text_token, reply.text_piece
            frame.moshi_codes = tuple(reply.moshi_codes)
            self._history.append(frame.text_token, frame.moshi_codes, frame.user_codes)
            await self._decode.send(frame)
        self._decode.done_writing()

    async def _decode_to_sink(self) -> None:
        while (answered := await self._decode.read()) is not None:
            frame, reply = answered
            self._note(frame, "decode")
            self._sink(frame, np.frombuffer(reply.pcm_f32le, "<f4"))

    async def _watch(self) -> NoReturn:
        while True:
            await asyncio.sleep(_LOOK_S)
            for mover in self._movers:
                mover.look(_LOOK_S)

    async def _open_codec(self, reason: MoveReason) -> tuple[EncodeStream, DecodeStream]:
        opened: CodecStreams = await self._elsewhere.codec_streams(self._streams.encode, reason < MoveReason.LOST)
        self._encode.remember()
        self._decode.remember()
        return opened.encode, opened.decode

    async def _open_lm(self, reason: MoveReason) -> tuple[LmStream]:
        return (await self._elsewhere.lm_stream(self._streams.lm, self._last_frames, reason < MoveReason.LOST),)

    def _last_frames(self, most: int | None) -> tuple[int, list[lm_pb2.HistoryFrame]]:
        self._lm.remember()
        return self._history.last(most)

    def _note(self, frame: UserFrame, hop: str) -> None:
        now_s = time.monotonic()
        self._times.observe(hop, now_s - frame.sent_s)
        frame.sent_s = now_s


def _send_pcm(stream: EncodeStream, frame: UserFrame) -> None:
    stream.send_pcm(frame.pcm)


def _send_user_codes(stream: LmStream, frame: UserFrame) -> None:
    stream.send_codes(frame.user_codes)


def _send_moshi_codes(stream: DecodeStream, frame: UserFrame) -> None:
    stream.send_codes(frame.moshi_codes)


def _is_same_reply(frame: UserFrame, message: lm_pb2.GenerateResponse) -> bool:
    return (message.frame.text_token, tuple(message.frame.moshi_codes)) == (frame.text_token, frame.moshi_codes)

"""Pipeline of a call: its frames on their way through the workers.

    source -> encode -> lm -> decode -> sink

Every frame passes each hop exactly once and in order, so a deque per hop says which frame an answer belongs to.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np

from moshi_cluster.audio.pcm import Samples
from moshi_cluster.services.common.errors import Unavailable
from moshi_cluster.services.gateway.calls.history import History
from moshi_cluster.services.gateway.calls.hop_times import HopTimes
from moshi_cluster.services.gateway.calls.ingress import UserFrame
from moshi_cluster.services.gateway.workers.streams import (
    CallStreams,
    DecodeStream,
    EncodeStream,
    LmStream,
    WorkerStream,
)

Source = Callable[[], Awaitable[UserFrame | None]]  # the next frame, None after the last
Sink = Callable[[UserFrame, Samples], None]  # a frame and its reply [1920]


class Pipeline:
    """The tasks between one call and its three workers. Bounded by the source, which limits what is in flight."""

    def __init__(self, streams: CallStreams, history: History, times: HopTimes, source: Source, sink: Sink) -> None:
        """history: gets every frame that the lm has answered. times: what each hop took."""
        self._streams = streams
        self._history = history
        self._times = times
        self._source = source
        self._sink = sink
        self._source_ended = False
        self._encoding: deque[UserFrame] = deque()
        self._generating: deque[UserFrame] = deque()
        self._decoding: deque[UserFrame] = deque()

    async def run(self) -> None:
        """Returns once the source has ended and every frame is answered. Raises Unavailable when a worker is lost."""
        encode, lm, decode = self._streams.encode, self._streams.lm, self._streams.decode
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._source_to_encode(encode))
            tasks.create_task(self._encode_to_lm(encode, lm))
            tasks.create_task(self._lm_to_decode(lm, decode))
            tasks.create_task(self._decode_to_sink(decode))

    async def _source_to_encode(self, encode: EncodeStream) -> None:
        while (frame := await self._source()) is not None:
            frame.sent_s = time.monotonic()
            self._encoding.append(frame)
            await encode.send_pcm(frame.pcm)
        self._source_ended = True
        encode.done_writing()

    async def _encode_to_lm(self, encode: EncodeStream, lm: LmStream) -> None:
        while (reply := await encode.read()) is not None:
            frame = self._answered(self._encoding, encode)
            frame.user_codes = tuple(reply.codes)
            self._generating.append(frame)
            await lm.send_codes(frame.user_codes)
        self._check_end(self._encoding, encode)
        lm.done_writing()

    async def _lm_to_decode(self, lm: LmStream, decode: DecodeStream) -> None:
        while (message := await lm.read()) is not None:
            if message.WhichOneof("message") != "frame":
                continue  # go_away: the worker lets its sessions finish
            reply = message.frame
            frame = self._answered(self._generating, lm)
            frame.text_piece = reply.text_piece
            self._history.append(reply.text_token, reply.moshi_codes, frame.user_codes)
            self._decoding.append(frame)
            await decode.send_codes(reply.moshi_codes)
        self._check_end(self._generating, lm)
        decode.done_writing()

    async def _decode_to_sink(self, decode: DecodeStream) -> None:
        while (reply := await decode.read()) is not None:
            self._sink(self._answered(self._decoding, decode), np.frombuffer(reply.pcm_f32le, "<f4"))
        self._check_end(self._decoding, decode)

    def _answered(self, waiting: deque[UserFrame], stream: WorkerStream[Any]) -> UserFrame:
        """The frame that a worker has just answered, its time on that hop noted."""
        if not waiting:
            raise Unavailable(f"{stream.name}: the worker answered a frame that was not sent")
        frame = waiting.popleft()
        now_s = time.monotonic()
        self._times.observe(stream.name, now_s - frame.sent_s)
        frame.sent_s = now_s
        return frame

    def _check_end(self, waiting: deque[UserFrame], stream: WorkerStream[Any]) -> None:
        if waiting or not self._source_ended:
            raise Unavailable(f"{stream.name}: the worker ended the stream")

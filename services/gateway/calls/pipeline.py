"""Pipeline of a call: its frames on their way through the workers.

    source -> encode -> lm -> decode -> sink

Every frame passes each hop exactly once and in order, so a deque per hop says which frame an answer belongs to.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NoReturn

import numpy as np

from moshi_cluster.audio.pcm import Samples
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

_LOOK_S = 2.5
_UNANSWERED_LOOKS = 4  # ten seconds: a step takes milliseconds, one that hangs is given up by the worker itself

Source = Callable[[], Awaitable[UserFrame | None]]  # the next frame, None after the last
Sink = Callable[[UserFrame, Samples], None]  # a frame and its reply [1920]


class Pipeline:
    """The tasks between one call and its three workers. Bounded by the source, which limits what is in flight."""

    def __init__(
        self,
        streams: CallStreams,
        history: History,
        times: HopTimes,
        source: Source,
        sink: Sink,
        look_s: float = _LOOK_S,
    ) -> None:
        """history: gets every frame that the lm has answered. times: what each hop took. look_s: between two looks for
        frames that a worker leaves unanswered.
        """
        self._streams = streams
        self._history = history
        self._times = times
        self._source = source
        self._sink = sink
        self._look_s = look_s
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
            watch = tasks.create_task(self._watch_answers())
            await self._decode_to_sink(decode)
            watch.cancel()

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
                continue  # go_away: the worker's reports say it too, and the codec's; see Call
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

    async def _watch_answers(self) -> NoReturn:
        """Raises Unavailable when a worker leaves a frame unanswered: it reports, but its engine stands still.

        Counts looks, not time: a gateway that stood still itself reads first what came meanwhile.
        """
        streams: tuple[WorkerStream[Any], ...] = (self._streams.encode, self._streams.lm, self._streams.decode)
        unanswered = UnansweredFrames((self._encoding, self._generating, self._decoding))
        while True:
            await asyncio.sleep(self._look_s)
            if (hop := unanswered.look()) is not None:
                streams[hop].worker.failed()
                raise streams[hop].unavailable("does not answer")

    def _answered(self, waiting: deque[UserFrame], stream: WorkerStream[Any]) -> UserFrame:
        """The frame that a worker has just answered, its time on that hop noted."""
        if not waiting:
            raise stream.unavailable("answered a frame that was not sent")
        frame = waiting.popleft()
        now_s = time.monotonic()
        self._times.observe(stream.name, now_s - frame.sent_s)
        frame.sent_s = now_s
        return frame

    def _check_end(self, waiting: deque[UserFrame], stream: WorkerStream[Any]) -> None:
        if waiting or not self._source_ended:
            raise stream.unavailable("ended the stream")


class UnansweredFrames:
    """Looks at the frames that wait for an answer, for one that does so longer than any step takes."""

    def __init__(self, hops: Sequence[deque[UserFrame]]) -> None:
        """hops: the frames that wait, on each hop."""
        self._hops = hops
        self._oldest: list[UserFrame | None] = [None] * len(hops)
        self._looks = [0] * len(hops)

    def look(self) -> int | None:
        """The hop whose oldest frame has been the same for too many looks."""
        for hop, waiting in enumerate(self._hops):
            oldest = waiting[0] if waiting else None
            same = oldest is not None and oldest is self._oldest[hop]
            self._oldest[hop], self._looks[hop] = oldest, self._looks[hop] + 1 if same else 0
            if self._looks[hop] >= _UNANSWERED_LOOKS:
                return hop
        return None

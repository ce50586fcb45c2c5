"""Movable stream of a call: one hop's frames, and all that another worker needs to go on with them.

A worker's state on a hop follows from what it was sent. Another worker is brought to the same state beside the old one
(`catch_up`) and then takes over between two frames (`switch`): what the old one has not answered is sent again.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Generic

from moshi_cluster.audio.frame import FRAME_S
from moshi_cluster.services.common.errors import SessionError, Unavailable
from moshi_cluster.services.common.session_stream import Response
from moshi_cluster.services.gateway.calls.ingress import UserFrame
from moshi_cluster.services.gateway.workers.streams import WorkerStream

_REST_MAX_S = 0.02

Send = Callable[[Any, UserFrame], None]  # a stream of the hop, and the frame that it is to take
Same = Callable[[UserFrame, Any], bool]  # a frame that has been answered, and what another worker answers to it


class MovableStream(Generic[Response]):
    """A hop's stream, whichever worker it is on: every frame has one answer, in the order in which they were sent."""

    def __init__(
        self,
        stream: WorkerStream[Response],
        send: Send,
        remembered_frames: int = 0,
        same: Same = lambda frame, reply: True,
    ) -> None:
        """send: a frame to a stream. remembered_frames: so many of the last ones another worker's state is made of.

        same: whether another worker's answer is the one that the call goes on from.
        """
        self.stream = stream
        self.waiting: deque[UserFrame] = deque()
        """Frames without an answer, oldest first. Bounded by the call's frames in flight."""
        self.answered_frames = 0
        self.is_lost = False
        """Whether nobody carries it at the moment."""
        self.on_lost: Callable[[Unavailable], None] = lambda error: None
        """Told when the stream can no longer be read. Whoever listens switches it, or ends the call."""
        self.on_gap: Callable[[float], None] = lambda gap_s: None
        """Told with the first answer of a new worker: how much later than a frame it comes after the one before."""
        self._send = send
        self._same = same
        self._answered: deque[UserFrame] = deque(maxlen=remembered_frames)
        self._to_catch_up: deque[UserFrame] | None = None
        self._warm_up_frames = 0  # of those, the ones that were answered before
        self._switched = asyncio.Event()
        self._is_new = False
        self._is_finished = False
        self._last_answer_s = time.monotonic()

    # --- the call's side

    async def send(self, frame: UserFrame) -> None:
        """Sends the next frame, now, or once the stream is on another worker. Waits while the worker takes nothing."""
        await self.stream.until_writable()
        frame.sent_s = time.monotonic()
        self.waiting.append(frame)
        self._send_if_up(frame)

    def done_writing(self) -> None:
        """No more frames will come."""
        self._is_finished = True
        self.stream.done_writing()

    async def read(self) -> tuple[UserFrame, Response] | None:
        """The next answered frame and its answer, None after the last. Waits while nobody carries the stream.

        Raises SessionError where another worker would not help.
        """
        while True:
            stream = self.stream
            self._switched.clear()
            try:
                reply = await stream.read()
                if stream is not self.stream:
                    continue  # what this answers, another worker is asked now
                if reply is not None and self.waiting:
                    return self._answer(), reply
                if reply is None and self._is_finished and not self.waiting:
                    return None
                raise stream.unavailable("ended the stream" if reply is None else "answered a frame that was not sent")
            except Unavailable as error:
                if stream is self.stream:
                    self.is_lost = True
                    self.on_lost(error)
                    await self._switched.wait()

    # --- the side of whoever moves it

    def remember(self) -> None:
        """The state of another worker's stream begins here: what is answered from now on it has to catch up with."""
        self._to_catch_up = deque(self._answered)
        self._warm_up_frames = len(self._answered)

    async def catch_up(self, stream: WorkerStream[Response], at_once: int, rests: bool = False) -> bool:
        """Brings a stream from where `remember` was called to where this one is when it returns.

        at_once: frames without an answer. rests: what was answered before goes one by one, and whoever waits for a core
        has it behind each frame for as long as that took. Whether every answer was the same. Raises SessionError when
        it is lost.
        """
        assert self._to_catch_up is not None
        now_s = asyncio.get_running_loop().time
        sent: deque[UserFrame] = deque()
        all_same, slow_frames = True, self._warm_up_frames if rests else 0
        while self._to_catch_up or sent:
            begun_s = now_s()
            while self._to_catch_up and len(sent) < (1 if slow_frames else at_once):
                sent.append(self._to_catch_up.popleft())
                self._send(stream, sent[-1])
            if (reply := await stream.read()) is None:
                raise stream.unavailable("ended the stream")
            all_same &= self._same(sent.popleft(), reply)
            if slow_frames:
                slow_frames -= 1
                await asyncio.sleep(min(now_s() - begun_s, _REST_MAX_S))
        return all_same

    def switch(self, stream: WorkerStream[Response]) -> None:
        """A stream that has caught up takes over, with the frames that the old one has not answered."""
        self.stream = stream
        self.is_lost = False
        self._to_catch_up = None
        self._is_new = True
        for frame in self.waiting:
            self._send_if_up(frame)
        if self._is_finished:
            stream.done_writing()
        self._switched.set()

    def _send_if_up(self, frame: UserFrame) -> None:
        with contextlib.suppress(SessionError):  # the next read says why
            self._send(self.stream, frame)

    def _answer(self) -> UserFrame:
        frame = self.waiting.popleft()
        self.answered_frames += 1
        self._answered.append(frame)
        if self._to_catch_up is not None:
            self._to_catch_up.append(frame)
        now_s = time.monotonic()
        if self._is_new:
            self._is_new = False
            self.on_gap(max(0.0, now_s - self._last_answer_s - FRAME_S))
        self._last_answer_s = now_s
        return frame

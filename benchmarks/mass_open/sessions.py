"""Sessions of an lm worker as a gateway holds them: frames in real time, each timed, and histories to open with."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np

from moshi_cluster.audio.frame import FRAME_S
from moshi_cluster.services.common.code_shape import CodeShape
from moshi_cluster.services.common.mux.client import MuxClient, MuxStream
from moshi_cluster.v1 import common_pb2, lm_pb2

_GENERATE = "/moshi_cluster.v1.Lm/Generate"
_TEXT_TOKEN = 3  # padding
_INFLIGHT_FRAMES = 4  # the gateway's default


class LmSession:
    """One stream of an lm worker."""

    def __init__(self, mux: MuxClient, codes: CodeShape, seed: int) -> None:
        self._mux = mux
        self._codes = codes
        self._random = np.random.default_rng(seed)
        self._sampling = common_pb2.Sampling(seed=seed)
        self._stream: MuxStream[Any] | None = None
        self._in_flight = asyncio.Semaphore(_INFLIGHT_FRAMES)
        self.answers: list[tuple[float, float]] = []
        """When a frame was due, and how much later its answer came, in seconds."""

    async def open(self, history_frames: int) -> float:
        """Returns once the session is ready; how long that took."""
        request = lm_pb2.GenerateRequest.Open(sampling=self._sampling, history=self._history(history_frames))
        started_s = time.monotonic()
        self._stream = self._mux.open(_GENERATE, lm_pb2.GenerateResponse)
        await self._stream.write(lm_pb2.GenerateRequest(open=request))
        opened = await self._stream.read()
        assert opened is not None and opened.HasField("opened")
        return time.monotonic() - started_s

    async def talk(self, first_s: float, until: asyncio.Event) -> None:
        """Sends a frame every 80 ms, the first at `first_s`; with several unanswered it waits, as a gateway does."""
        assert self._stream is not None
        sent: deque[float] = deque()
        reading = asyncio.create_task(self._read(self._stream, sent))
        due_s, index = first_s, 0
        while not until.is_set():
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
            await self._in_flight.acquire()
            sent.append(due_s)
            frame = lm_pb2.GenerateRequest.UserFrame(codes=self._user_codes(), frame_index=index)
            await self._stream.write(lm_pb2.GenerateRequest(frame=frame))
            due_s, index = max(due_s + FRAME_S, time.monotonic()), index + 1
        self._stream.done_writing()
        await reading

    async def _read(self, stream: MuxStream[Any], sent: deque[float]) -> None:
        while await stream.read() is not None:
            sent_s = sent.popleft()
            self.answers.append((sent_s, time.monotonic() - sent_s))
            self._in_flight.release()

    def _user_codes(self) -> list[int]:
        return [int(code) for code in self._random.integers(self._codes.codebook_size, size=self._codes.user_codebooks)]

    def _history(self, frames: int) -> Sequence[lm_pb2.HistoryFrame]:
        codes = self._codes
        moshi = self._random.integers(codes.codebook_size, size=(frames, codes.moshi_codebooks))
        user = self._random.integers(codes.codebook_size, size=(frames, codes.user_codebooks))
        return [
            lm_pb2.HistoryFrame(text_token=_TEXT_TOKEN, moshi_codes=own, user_codes=theirs)
            for own, theirs in zip(moshi.tolist(), user.tolist(), strict=True)
        ]

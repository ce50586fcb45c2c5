"""A session's sequence in Triton: a stream of its own, frames out as they come, answers back in order."""

from __future__ import annotations

import asyncio
import contextlib
import math
import secrets
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc

from moshi_cluster.services.codec.triton.connection import TritonConnection
from moshi_cluster.services.codec.triton.frames import Frames, StepAccount, read_account
from moshi_cluster.services.common.errors import Unavailable
from moshi_cluster.services.common.worker.session import Reply, Session, Waiting

OnAnswer = Callable[[StepAccount, float, float], None]  # (step, how long the frame waited, and took in all)


class Sequence:
    """The way of one session's frames to Triton and back. All of it happens on the event loop."""

    def __init__(
        self, session: Session, program: str, frames: Frames, connection: TritonConnection, on_answer: OnAnswer
    ) -> None:
        self._session = session
        self._program = program
        self._connection = connection
        self._frames = frames
        self._on_answer = on_answer
        self._outbox: asyncio.Queue[Waiting | None] = asyncio.Queue()  # bounded by the session's credits; None: the end
        self._sent: deque[Waiting] = deque()  # and not answered; bounded in the same way
        self._id = secrets.randbits(63) + 1  # other codec workers have sequences in the same Triton
        self._has_begun = False
        self._closed = False
        self._is_over = False

    @property
    def is_idle(self) -> bool:
        """Whether Triton knows nothing of it."""
        return not self._has_begun

    @property
    def oldest_arrival_s(self) -> float:
        """Arrival of the frame that has waited longest for its answer, infinite while none does."""
        waiting = self._sent[0] if self._sent else None
        return waiting.arrival_s if waiting else math.inf

    def put(self, waiting: Waiting) -> None:
        """Takes a frame of the session."""
        if not self._closed:
            self._outbox.put_nowait(waiting)

    def close(self) -> None:
        """No more frames; those that have not left yet never will. Triton is told that the sequence is over."""
        self._closed = True
        with contextlib.suppress(asyncio.QueueEmpty):
            while True:
                self._outbox.get_nowait()
        self._outbox.put_nowait(None)

    async def run(self) -> None:
        """Carries frames until the sequence is over in Triton. Raises Unavailable when that is lost or refuses one."""
        answers = self._connection.stream(self._program, self._requests())
        try:
            async for result, error in answers:
                if error is not None:
                    raise _refusal(error.message())
                self._answered(result)
            if not self._closed or self._sent:
                raise Unavailable("Triton has ended the stream")
        except grpc.RpcError:
            raise Unavailable("Triton is lost") from None
        except ValueError:
            raise Unavailable("Triton gave an answer that is none") from None
        finally:
            answers.cancel()
            self._is_over = True
            self.close()  # wakes the writer of the stream, which gRPC leaves waiting for the next frame

    async def _requests(self) -> AsyncIterator[dict[str, Any]]:
        while (waiting := await self._outbox.get()) is not None:
            yield self._request(waiting)
        if self._has_begun and not self._is_over:
            yield self._request(Waiting(self._frames.blank, time.monotonic()), end=True)

    def _request(self, waiting: Waiting, end: bool = False) -> dict[str, Any]:
        start, self._has_begun = not self._has_begun, True
        self._sent.append(waiting)
        return {
            "inputs": [self._frames.write(waiting.frame)],
            "sequence_id": self._id,
            "sequence_start": start,
            "sequence_end": end,
        }

    def _answered(self, result: Any) -> None:
        """Raises ValueError for an answer that is none, or to nothing."""
        if not self._sent:
            raise ValueError("an answer without a question")
        value, step = self._frames.read(result), read_account(result)
        took_s = time.monotonic() - self._sent.popleft().arrival_s
        waited_s = max(0.0, took_s - step.step_s)
        if not self._closed:
            self._on_answer(step, waited_s, took_s)
            self._session.deliver(Reply(value, waited_s, step.step_s, step.batch_size))


class Forgotten(Unavailable):
    """Triton no longer knows the sequence, which says nothing of its models."""


def _refusal(text: str) -> Unavailable:
    """Triton's text goes to the log, where it differs from call to call."""
    if "START flag" in text or "is not known" in text:
        return Forgotten("Triton has forgotten the sequence")
    return Unavailable("Triton has refused a frame")

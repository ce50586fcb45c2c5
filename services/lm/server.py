"""The Lm service: sessions in, the engine behind."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt

from moshi_cluster.models.sampling import Sampling
from moshi_cluster.services.common import checks
from moshi_cluster.services.common.code_shape import CodeShape
from moshi_cluster.services.common.deadlines import within
from moshi_cluster.services.common.errors import InvalidInput
from moshi_cluster.services.common.prompts import takes_no_prompts
from moshi_cluster.services.common.rpc_stream import serve_rpc
from moshi_cluster.services.common.session_stream import Method, SessionStream
from moshi_cluster.services.common.worker.metrics import EngineMetrics
from moshi_cluster.services.common.worker.service import Model, WorkerService
from moshi_cluster.services.common.worker.session import Reply, Session
from moshi_cluster.services.common.worker.streams import Patience, Write, pump, timing
from moshi_cluster.services.lm.metrics import PromptCacheStats
from moshi_cluster.services.lm.sampling import parse_sampling, sampling_message
from moshi_cluster.services.lm.session import LmReply, SessionSpec
from moshi_cluster.services.lm.settings import LmSettings
from moshi_cluster.v1 import lm_pb2, lm_pb2_grpc

_MOST_EARLIER_FRAMES = 1 << 31  # five years
_HISTORY_SLICE_FRAMES = 256  # about a millisecond

_Write = Write[lm_pb2.GenerateResponse]


@dataclass(frozen=True)
class LmModel(Model):
    """A loaded lm, as far as the server needs to know it."""

    text_card: int
    audio_card: int
    moshi_codebooks: int
    user_codebooks: int
    sampling: Sampling  # the checkpoint's; its seed means nothing
    prompt: Callable[[str, str], Any] = takes_no_prompts  # of a text and a voice, None for none; raises InvalidInput
    prompt_cache: PromptCacheStats | None = None

    @property
    def codes(self) -> CodeShape:
        """The caller's stream and Moshi's own."""
        return CodeShape(self.user_codebooks, self.moshi_codebooks, self.audio_card)


class LmService(WorkerService[LmModel], lm_pb2_grpc.LmServicer):
    """Generate: one stream is one session."""

    def __init__(self, settings: LmSettings, load: Callable[[], LmModel], metrics: EngineMetrics) -> None:
        super().__init__("lm", load, metrics, settings.inflight_frames, settings.drain_linger_s)
        self._settings = settings
        self._patience = Patience(settings.first_frame_timeout_s, settings.idle_timeout_s)

    def register(self, server: grpc.aio.Server) -> Sequence[str]:
        lm_pb2_grpc.add_LmServicer_to_server(self, server)
        methods = {"/moshi_cluster.v1.Lm/Generate": Method(self.generate, lm_pb2.GenerateRequest)}
        return ["moshi_cluster.v1.Lm", *self.register_worker(server, methods)]

    async def Generate(
        self, request_iterator: AsyncIterator[lm_pb2.GenerateRequest], context: grpc.aio.ServicerContext
    ) -> None:
        await serve_rpc(self.generate, request_iterator, context, slot_is_a_response=True)

    async def generate(self, stream: SessionStream[lm_pb2.GenerateRequest, lm_pb2.GenerateResponse]) -> None:
        """Handles a session's stream, whatever carries it."""
        self.require_open("lm")
        spec = await self._parse_open(await _first(stream.requests, self._settings.open_timeout_s))
        async with self.session("lm", spec) as session:
            await stream.held()
            write = _one_at_a_time(stream.write)
            await self._announce_opened(session, spec, write)
            async with self._go_away_notice(write):
                await pump(session, stream.requests, write, self._parse_frame, _render_frame, self._patience)

    async def _announce_opened(self, session: Session, spec: SessionSpec, write: _Write) -> None:
        start_s = asyncio.get_running_loop().time()
        await within(session.ready, self._settings.prepare_timeout_s, "the history was not read in time")
        open_us = round((asyncio.get_running_loop().time() - start_s) * 1e6)
        opened = lm_pb2.GenerateResponse.Opened(
            prefilled_frames=spec.prompt_frames + len(spec.history),
            open_us=open_us,
            sampling=sampling_message(spec.sampling),
        )
        await write(lm_pb2.GenerateResponse(opened=opened))

    @contextlib.asynccontextmanager
    async def _go_away_notice(self, write: _Write) -> AsyncIterator[None]:
        """While inside, a drain of the worker is told to the session, once."""

        async def tell() -> None:
            await self.draining.wait()
            go_away = lm_pb2.GenerateResponse.GoAway(grace_ms=round(self.grace_left_s * 1000))
            await write(lm_pb2.GenerateResponse(go_away=go_away))

        task = asyncio.create_task(tell())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _parse_open(self, request: lm_pb2.GenerateRequest) -> SessionSpec:
        if request.WhichOneof("message") != "open":
            raise InvalidInput("message", "the first message must be `open`")
        sampling = parse_sampling(request.open.sampling, self.model.sampling)
        if request.open.earlier_frames > _MOST_EARLIER_FRAMES:
            raise InvalidInput("open.earlier_frames", "is more than there can be", limit=_MOST_EARLIER_FRAMES)
        persona = request.open.persona
        prompt, earlier_frames = self.model.prompt(persona.text_prompt, persona.voice), request.open.earlier_frames
        history = await self._parse_history(request.open.history)
        prompt_frames = 0 if prompt is None else len(prompt.frames)
        if earlier_frames:  # the prompt lies before what the history tells
            return SessionSpec(sampling, history, earlier_frames + prompt_frames)
        return SessionSpec(sampling, history, 0, prompt, prompt_frames)

    async def _parse_history(self, history: Sequence[lm_pb2.HistoryFrame]) -> npt.NDArray[np.int64]:
        """int64 [frames, 1 + K], in slices: an hour takes 0.2 s, and other sessions' frames pass meanwhile."""
        limit = self._settings.max_history_frames
        if len(history) > limit:
            raise InvalidInput("open.history", "has more frames than may come", limit=limit, got=len(history))
        rows = np.empty((len(history), 1 + self.model.moshi_codebooks + self.model.user_codebooks), np.int64)
        for index, frame in enumerate(history):
            try:
                rows[index] = self._parse_history_frame(frame)
            except InvalidInput as error:
                error.figures["index"] = str(index)
                raise
            if index % _HISTORY_SLICE_FRAMES == _HISTORY_SLICE_FRAMES - 1:
                await asyncio.sleep(0)
        return rows

    def _parse_history_frame(self, frame: lm_pb2.HistoryFrame) -> list[int]:
        field, model = "open.history", self.model
        if frame.text_token >= model.text_card:
            raise InvalidInput(
                f"{field}.text_token", "must be in the vocabulary", below=model.text_card, got=frame.text_token
            )
        moshi = checks.codes(frame.moshi_codes, model.moshi_codebooks, model.audio_card, f"{field}.moshi_codes")
        user = checks.codes(frame.user_codes, model.user_codebooks, model.audio_card, f"{field}.user_codes")
        return [frame.text_token, *moshi, *user]

    def _parse_frame(self, request: lm_pb2.GenerateRequest, index: int) -> list[int]:
        if request.WhichOneof("message") != "frame":
            raise InvalidInput("message", "after `open`, only `frame` may come")
        checks.frame_index(request.frame.frame_index, index, "frame.frame_index")
        return checks.codes(request.frame.codes, self.model.user_codebooks, self.model.audio_card, "frame.codes")


def _render_frame(reply: Reply, index: int) -> lm_pb2.GenerateResponse:
    value: LmReply = reply.value
    frame = lm_pb2.GenerateResponse.ReplyFrame(
        moshi_codes=value.moshi_codes,
        text_token=value.text_token,
        text_piece=value.text_piece,
        frame_index=index,
        timing=timing(reply),
    )
    return lm_pb2.GenerateResponse(frame=frame)


async def _first(requests: AsyncIterator[lm_pb2.GenerateRequest], timeout_s: float) -> lm_pb2.GenerateRequest:
    try:
        return await within(anext(requests), timeout_s, "no `open` came")
    except StopAsyncIteration:
        raise InvalidInput("message", "the stream ended before `open`") from None


def _one_at_a_time(write: _Write) -> _Write:
    """A stream takes one write at a time; replies and notices share it."""
    lock = asyncio.Lock()

    async def locked(message: lm_pb2.GenerateResponse) -> None:
        async with lock:
            await write(message)

    return locked

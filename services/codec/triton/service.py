"""The Codec service in front of Triton: ready for as long as the models behind the name are."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass

from moshi_cluster.services.codec.server import CodecModel, CodecService
from moshi_cluster.services.codec.settings import CodecSettings
from moshi_cluster.services.codec.triton.connection import ModelLook, TritonConnection, TritonNotReady, TritonSilent
from moshi_cluster.services.codec.triton.contract import MimiParameters, ModelStats
from moshi_cluster.services.codec.triton.frames import DecodeFrames, EncodeFrames
from moshi_cluster.services.codec.triton.metrics import TritonMetrics
from moshi_cluster.services.codec.triton.remote_engine import RemoteEngine, RemoteProgram
from moshi_cluster.services.common.deadlines import set_within
from moshi_cluster.services.common.errors import Unavailable
from moshi_cluster.services.common.worker.metrics import EngineMetrics

_log = logging.getLogger(__name__)
_NOT_READY = "Triton is not ready"
_FRAMES: Mapping[str, type[EncodeFrames | DecodeFrames]] = {"encode": EncodeFrames, "decode": DecodeFrames}

Looks = Mapping[str, ModelLook]


@dataclass(frozen=True)
class WatchTimes:
    """How patiently Triton is watched."""

    look_s: float = 1.0
    """Between two looks."""
    silence_s: float = 1.0
    """For the answer to a look."""
    silent_looks: int = 3
    """Looks without an answer, one after the other, after which it is lost. Counts looks: a process that stood still
    itself has missed nothing."""


TIMES = WatchTimes()


class TritonCodecService(CodecService):
    """Encode and Decode by a Triton server. While that is away, sessions are refused and health says NOT_SERVING."""

    def __init__(
        self, settings: CodecSettings, metrics: EngineMetrics, triton: TritonMetrics, times: WatchTimes = TIMES
    ) -> None:
        super().__init__(settings, None, metrics)
        self._settings = settings
        self._triton_metrics = triton
        self._times = times
        self._connection = TritonConnection(settings.triton_url or "", settings.triton_model, times.silence_s)
        self._opened = asyncio.Event()
        self._trouble = asyncio.Event()
        self._follower: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Returns once Triton is ready, however long that takes. Whatever goes wrong there later, this stays."""
        self._follower = asyncio.create_task(self._follow())
        self._follower.add_done_callback(self._followed)
        opened = asyncio.create_task(self._opened.wait())
        try:
            await asyncio.wait((self.failed, opened), return_when=asyncio.FIRST_COMPLETED)
        finally:
            opened.cancel()

    async def stop(self) -> None:
        """Lets go of Triton."""
        if self._follower is not None:
            self._follower.cancel()
            await asyncio.wait((self._follower,))
        await super().stop()
        await self._connection.close()

    async def _follow(self) -> None:
        while True:
            looks = await self._until_ready()
            engine = self._engine_of(looks)
            self._open(looks, engine)
            why = await self._until_lost(looks, engine)
            self._triton_metrics.ready(False)
            _log.warning("triton lost why=%s", why)
            self.close_for_now(_NOT_READY)
            engine.fail_sessions(Unavailable(_NOT_READY))
            await engine.stop()

    async def _until_ready(self) -> Looks:
        told = ""
        while True:
            try:
                looks = await self._connection.look()
                for program, look in looks.items():
                    frames = _FRAMES[program](look.parameters)
                    await self._connection.try_frame(program, frames, self._settings.triton_answer_timeout_s)
                return looks
            except TritonNotReady as error:
                if str(error) != told:
                    told = str(error)
                    _log.warning("triton not ready url=%s why=%s, trying on", self._settings.triton_url, told)
                await asyncio.sleep(self._times.look_s)

    async def _until_lost(self, first: Looks, engine: RemoteEngine) -> str:
        """Watches Triton; returns why it is of no use any more."""
        silent = 0
        while silent < self._times.silent_looks:
            await set_within(self._trouble, self._times.look_s)
            self._trouble.clear()
            if engine.is_broken:
                return "sessions fail and no frame is answered"
            try:
                looks = await self._connection.look()
            except TritonSilent:
                silent += 1
                continue
            except TritonNotReady as error:
                return str(error)
            silent = 0
            self._triton_metrics.observe(_stats(looks))
            if _parameters(looks) != _parameters(first):
                return "another model is behind the name"
        return "it does not answer"

    def _open(self, looks: Looks, engine: RemoteEngine) -> None:
        encode = looks["encode"].parameters
        model = CodecModel([], encode.fingerprint, encode.frame_samples, encode.codebooks, encode.bins)
        _log.info(
            "triton ready url=%s slots=%d", self._settings.triton_url, min(table.total for table in engine.tables)
        )
        self._triton_metrics.observe(_stats(looks))
        self._triton_metrics.ready(True)
        self.open_with(model, engine)
        self._opened.set()

    def _engine_of(self, looks: Looks) -> RemoteEngine:
        most = self._settings.slots
        programs = [
            RemoteProgram(
                name, _FRAMES[name](look.parameters), min(look.parameters.slots, most or look.parameters.slots)
            )
            for name, look in looks.items()
        ]
        engine = RemoteEngine(
            programs,
            self._connection,
            inflight_frames=self._settings.inflight_frames,
            answer_timeout_s=self._settings.triton_answer_timeout_s,
            on_stats=self.observe,
            on_trouble=self._trouble.set,
        )
        engine.failed.add_done_callback(lambda failure: self._fail(failure.result()))
        return engine

    def _followed(self, follower: asyncio.Task[None]) -> None:
        if not follower.cancelled() and (error := follower.exception()) is not None:
            _log.error("triton cannot be followed", exc_info=error)
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        if not self.failed.done():
            self.failed.set_result(error)


def _stats(looks: Looks) -> dict[str, ModelStats]:
    return {program: look.stats for program, look in looks.items()}


def _parameters(looks: Looks) -> list[MimiParameters]:
    return [look.parameters for look in looks.values()]

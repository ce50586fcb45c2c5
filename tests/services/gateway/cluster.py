"""A whole cluster in the test's own process: real services, real gRPC, models that compute nothing.

What goes in comes out: every reply frame is full of the first sample of the user's frame, so that order, loss and
doubling show in the audio.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from prometheus_client import CollectorRegistry

from moshi_cluster.models.sampling import Sampling
from moshi_cluster.services.codec.server import CodecModel, CodecService
from moshi_cluster.services.codec.settings import CodecSettings
from moshi_cluster.services.common.lifecycle import Service
from moshi_cluster.services.common.prompts import takes_no_prompts
from moshi_cluster.services.common.worker.metrics import EngineMetrics
from moshi_cluster.services.gateway.api.tls import grpc_credentials
from moshi_cluster.services.gateway.calls.manager import CallManager
from moshi_cluster.services.gateway.metrics import GatewayMetrics
from moshi_cluster.services.gateway.server import GatewayService
from moshi_cluster.services.gateway.settings import GatewaySettings
from moshi_cluster.services.lm.server import LmModel, LmService
from moshi_cluster.services.lm.session import LmReply
from moshi_cluster.services.lm.settings import LmSettings
from moshi_cluster.v1 import gateway_pb2_grpc
from tests.services.fake_runner import FakeRunner, fake_program
from tests.services.fake_workers import AT_ONCE, CODEBOOKS, FINGERPRINT, FRAME_SAMPLES, TEXT_CARD, pcm_of
from tests.services.in_process import Listening, eventually, serving

LEVELS = 60  # a frame's first sample survives the codes in steps of 1 / LEVELS
_BINS = 64
# Nothing is filled in or dropped although the tests send whole calls at once, and who cannot move at once is lost.
PATIENT = {
    "backlog_frames": 1000,
    "jitter_allowance_ms": 2000,
    "reply_backlog_ms": 100_000,
    "flush_timeout_s": 60.0,
    "retry_after_ms": 250,
    "max_messages_per_s": 1e6,
    "move_timeout_s": 0.0,
}


class EchoCodec(CodecService):
    """Encode: the frame's first sample as the first code. Decode: a frame full of it."""

    def __init__(
        self, slots: int = 8, checkpoint: str = FINGERPRINT, codebooks: int = CODEBOOKS, **settings: Any
    ) -> None:
        self.encoder = FakeRunner(lambda spec, index, pcm: [_level(pcm), *[0] * (codebooks - 1)])
        self.decoder = FakeRunner(lambda spec, index, codes: pcm_of(codes[0] / LEVELS))
        programs = [
            fake_program(self.encoder, slots, slots, "encode"),
            fake_program(self.decoder, slots, slots, "decode"),
        ]
        model = CodecModel(programs, checkpoint, FRAME_SAMPLES, codebooks, _BINS)
        super().__init__(
            CodecSettings(**AT_ONCE | settings), lambda: model, EngineMetrics("codec", CollectorRegistry())
        )


class EchoLm(LmService):
    """Says back the user's codes, and with every other frame its number as text. settings: `context` is told too."""

    def __init__(
        self,
        slots: int = 8,
        prepare_pieces: int = 1,
        checkpoint: str = FINGERPRINT,
        codebooks: int = CODEBOOKS,
        codec_checkpoint: str = "",
        prompt: Callable[[str, str], Any] = takes_no_prompts,
        **settings: Any,
    ) -> None:
        self.runner = FakeRunner(
            lambda spec, index, codes: LmReply(codes, index % TEXT_CARD, "" if index % 2 else f" {index}"),
            prepare_pieces,
        )
        program = fake_program(self.runner, slots, slots, "lm")
        context_frames = settings.get("context", 0)
        model = LmModel(
            [program],
            checkpoint,
            TEXT_CARD,
            _BINS,
            codebooks,
            codebooks,
            Sampling(),
            context_frames=context_frames,
            codec_fingerprint=codec_checkpoint,
            prompt=prompt,
        )
        super().__init__(LmSettings(**AT_ONCE | settings), lambda: model, EngineMetrics("lm", CollectorRegistry()))


@dataclass
class Cluster:
    """A gateway that serves, and what is behind it."""

    service: GatewayService
    manager: CallManager
    registry: CollectorRegistry
    target: str  # host:port
    channel: grpc.aio.Channel
    workers: Sequence[Service]
    listening: Sequence[Listening]  # of the workers
    https: bool = False

    @property
    def url(self) -> str:
        """Where the page is, if it is."""
        return f"http{'s' if self.https else ''}://127.0.0.1:{self.service.http_port}/"

    @property
    def stub(self) -> gateway_pb2_grpc.GatewayStub:
        return gateway_pb2_grpc.GatewayStub(self.channel)

    def sample(self, name: str, **labels: str) -> float:
        """A metric's value now, summed over the labels that are not named."""
        samples = (sample for family in self.registry.collect() for sample in family.samples)
        return sum(each.value for each in samples if each.name == name and labels.items() <= each.labels.items())

    async def until_free(self) -> None:
        """Returns once every slot of every worker and of the gateway is free."""
        await eventually(lambda: not any(service.live_sessions for service in (self.service, *self.workers)))


@asynccontextmanager
async def cluster(
    codecs: Sequence[Service] | None = None, lms: Sequence[Service] | None = None, **settings: Any
) -> AsyncIterator[Cluster]:
    """A cluster of these workers, by default one echoing worker of each kind; settings: of the gateway."""
    codecs = [EchoCodec()] if codecs is None else codecs
    lms = [EchoLm()] if lms is None else lms
    async with AsyncExitStack() as stack:
        workers = [*codecs, *lms]
        listening = [await stack.enter_async_context(serving(worker)) for worker in workers]
        targets = [listener.target for listener in listening]
        codec_targets, lm_targets = targets[: len(codecs)], targets[len(codecs) :]
        async with gateway(codec_targets, lm_targets, **settings) as (service, manager, registry, listener):
            target, channel, https = listener.target, listener.channel, bool(settings.get("tls_dir"))
            yield Cluster(service, manager, registry, target, channel, workers, listening, https)


@asynccontextmanager
async def gateway(
    codec_targets: Sequence[str], lm_targets: Sequence[str], **settings: Any
) -> AsyncIterator[tuple[GatewayService, CallManager, CollectorRegistry, Listening]]:
    """A gateway that has found its workers. With `grpc_tls` only a channel of the test's own reaches it."""
    registry = CollectorRegistry()
    targets = {"codec_targets": tuple(codec_targets), "lm_targets": tuple(lm_targets), "http": False}
    chosen = GatewaySettings(**{**PATIENT, **targets, **settings})
    manager = CallManager(chosen, GatewayMetrics(registry))
    service = GatewayService(chosen, manager)
    credentials = grpc_credentials(Path(chosen.tls_dir), chosen.tls_self_signed) if chosen.grpc_tls else None
    async with serving(service, credentials) as listener:
        yield service, manager, registry, listener


def _level(pcm: bytes) -> int:
    return abs(round(float(np.frombuffer(pcm, "<f4")[0]) * LEVELS))  # a voice has both signs, codes have none

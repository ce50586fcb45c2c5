"""The real services around fake models: codec and lm workers that start at once and compute nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
from prometheus_client import CollectorRegistry

from moshi_cluster.models.sampling import Sampling
from moshi_cluster.services.codec.server import CodecModel, CodecService
from moshi_cluster.services.codec.settings import CodecSettings
from moshi_cluster.services.common.worker.metrics import EngineMetrics
from moshi_cluster.services.lm.server import LmModel, LmService
from moshi_cluster.services.lm.session import LmReply, SessionSpec
from moshi_cluster.services.lm.settings import LmSettings
from moshi_cluster.v1 import codec_pb2, common_pb2, lm_pb2
from tests.services.fake_runner import FakeRunner, fake_program

FRAME_SAMPLES = 1920
BINS = 64
CODEBOOKS = 8
TEXT_CARD = 256
FINGERPRINT = "0123456789abcdef"
AT_ONCE: dict[str, Any] = {"drain_linger_s": 0.0}
"""A drain refuses new sessions from its first moment."""


class FakeCodec(CodecService):
    """Encode: eight codes that name the frame's place and its first sample. Decode: a frame full of the first code."""

    def __init__(self, slots: int = 2, **settings: Any) -> None:
        self.encoder = FakeRunner(lambda spec, index, pcm: [index % BINS, int(np.frombuffer(pcm, "<f4")[0]), *[0] * 6])
        self.decoder = FakeRunner(lambda spec, index, codes: pcm_of(codes[0]))
        self.registry = CollectorRegistry()
        programs = [
            fake_program(self.encoder, slots, slots, "encode"),
            fake_program(self.decoder, slots, slots, "decode"),
        ]
        model = CodecModel(programs, FINGERPRINT, FRAME_SAMPLES, CODEBOOKS, BINS)
        super().__init__(CodecSettings(**AT_ONCE | settings), lambda: model, EngineMetrics("codec", self.registry))


class FakeLm(LmService):
    """Replies name the length of the history, the frame's place and the user's first code. settings: `context` is told
    too."""

    def __init__(self, slots: int = 2, prepare_pieces: int = 1, **settings: Any) -> None:
        self.runner = FakeRunner(_reply, prepare_pieces)
        self.registry = CollectorRegistry()
        program = fake_program(self.runner, slots, slots, "lm")
        context_frames = settings.get("context", 0)
        model = LmModel(
            [program], FINGERPRINT, TEXT_CARD, BINS, CODEBOOKS, CODEBOOKS, Sampling(), context_frames=context_frames
        )
        super().__init__(LmSettings(**AT_ONCE | settings), lambda: model, EngineMetrics("lm", self.registry))


def _reply(spec: SessionSpec, index: int, codes: list[int]) -> LmReply:
    return LmReply([len(spec.history), index % BINS, codes[0], *[0] * 5], index % TEXT_CARD, f" {index}")


def pcm_of(level: float) -> bytes:
    """One frame of equal samples."""
    return np.full(FRAME_SAMPLES, level, "<f4").tobytes()


def pcm_frame(index: int, level: float = 0.0) -> codec_pb2.PcmFrame:
    return codec_pb2.PcmFrame(pcm_f32le=pcm_of(level), frame_index=index)


def code_frame(index: int, first: int = 0) -> codec_pb2.CodeFrame:
    return codec_pb2.CodeFrame(codes=[first, *[0] * (CODEBOOKS - 1)], frame_index=index)


def open_request(history_frames: int = 0, seed: int = 1) -> lm_pb2.GenerateRequest:
    history = [lm_pb2.HistoryFrame(text_token=3, moshi_codes=[1] * 8, user_codes=[2] * 8)] * history_frames
    return lm_pb2.GenerateRequest(
        open=lm_pb2.GenerateRequest.Open(sampling=common_pb2.Sampling(seed=seed), history=history)
    )


def user_frame(index: int, first: int = 0) -> lm_pb2.GenerateRequest:
    frame = lm_pb2.GenerateRequest.UserFrame(codes=[first, *[0] * (CODEBOOKS - 1)], frame_index=index)
    return lm_pb2.GenerateRequest(frame=frame)

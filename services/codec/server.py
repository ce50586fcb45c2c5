"""The Codec service: streams in, the engine behind."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

import grpc

from moshi_cluster.services.codec.settings import CodecSettings
from moshi_cluster.services.common import checks
from moshi_cluster.services.common.code_shape import CodeShape
from moshi_cluster.services.common.rpc_stream import serve_rpc
from moshi_cluster.services.common.session_stream import Method, Methods, Request, Response, SessionStream
from moshi_cluster.services.common.worker.metrics import EngineMetrics
from moshi_cluster.services.common.worker.service import Model, WorkerService
from moshi_cluster.services.common.worker.session import Reply
from moshi_cluster.services.common.worker.streams import Parse, Patience, Render, pump, timing
from moshi_cluster.v1 import codec_pb2, codec_pb2_grpc


@dataclass(frozen=True)
class CodecModel(Model):
    """A loaded codec, as far as the server needs to know it."""

    frame_samples: int
    codebooks: int
    bins: int

    @property
    def codes(self) -> CodeShape:
        """Both ways the same."""
        return CodeShape(self.codebooks, self.codebooks, self.bins)


class CodecService(WorkerService[CodecModel], codec_pb2_grpc.CodecServicer):
    """Encode and Decode: one stream is one slot."""

    def __init__(self, settings: CodecSettings, load: Callable[[], CodecModel] | None, metrics: EngineMetrics) -> None:
        """load: as of WorkerService."""
        super().__init__("codec", load, metrics, settings.inflight_frames, settings.drain_linger_s)
        self._patience = Patience(settings.first_frame_timeout_s, settings.idle_timeout_s)

    def register(self, server: grpc.aio.Server) -> Sequence[str]:
        codec_pb2_grpc.add_CodecServicer_to_server(self, server)
        methods: Methods = {
            "/moshi_cluster.v1.Codec/Encode": Method(self.encode, codec_pb2.PcmFrame),
            "/moshi_cluster.v1.Codec/Decode": Method(self.decode, codec_pb2.CodeFrame),
        }
        return ["moshi_cluster.v1.Codec", *self.register_worker(server, methods)]

    async def Encode(
        self, request_iterator: AsyncIterator[codec_pb2.PcmFrame], context: grpc.aio.ServicerContext
    ) -> None:
        await serve_rpc(self.encode, request_iterator, context)

    async def Decode(
        self, request_iterator: AsyncIterator[codec_pb2.CodeFrame], context: grpc.aio.ServicerContext
    ) -> None:
        await serve_rpc(self.decode, request_iterator, context)

    async def encode(self, stream: SessionStream[codec_pb2.PcmFrame, codec_pb2.CodeFrame]) -> None:
        """Handles a stream of PCM frames, whatever carries it."""
        await self._handle("encode", stream, self._parse_pcm, _render_codes)

    async def decode(self, stream: SessionStream[codec_pb2.CodeFrame, codec_pb2.PcmFrame]) -> None:
        """Handles a stream of frames of codes, whatever carries it."""
        await self._handle("decode", stream, self._parse_codes, _render_pcm)

    async def _handle(
        self, program: str, stream: SessionStream[Request, Response], parse: Parse[Request], render: Render[Response]
    ) -> None:
        async with self.session(program) as session:
            await stream.held()
            await pump(session, stream.requests, stream.write, parse, render, self._patience)

    def _parse_pcm(self, request: codec_pb2.PcmFrame, index: int) -> bytes:
        checks.frame_index(request.frame_index, index, "frame_index")
        return checks.pcm_f32(request.pcm_f32le, self.model.frame_samples, "pcm_f32le")

    def _parse_codes(self, request: codec_pb2.CodeFrame, index: int) -> list[int]:
        checks.frame_index(request.frame_index, index, "frame_index")
        return checks.codes(request.codes, self.model.codebooks, self.model.bins, "codes")


def _render_codes(reply: Reply, index: int) -> codec_pb2.CodeFrame:
    return codec_pb2.CodeFrame(codes=reply.value, frame_index=index, timing=timing(reply))


def _render_pcm(reply: Reply, index: int) -> codec_pb2.PcmFrame:
    return codec_pb2.PcmFrame(pcm_f32le=reply.value, frame_index=index, timing=timing(reply))

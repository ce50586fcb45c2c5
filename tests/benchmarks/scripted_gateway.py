"""A gateway that answers each call with what a script says."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import grpc

from moshi_cluster.v1 import gateway_pb2, gateway_pb2_grpc

SHUTDOWN, HANGUP = gateway_pb2.Ended.REASON_SHUTDOWN, gateway_pb2.Ended.REASON_HANGUP


def started(token: str = "", remembered: int = 0) -> gateway_pb2.ConverseResponse:
    resumption = gateway_pb2.Resumption(remembered_frames=remembered, lost_frames=2) if remembered else None
    return gateway_pb2.ConverseResponse(started=gateway_pb2.Started(resume_token=token, resumption=resumption))


def sound(frames: int) -> gateway_pb2.ConverseResponse:
    return gateway_pb2.ConverseResponse(audio=gateway_pb2.ReplyAudio(data=bytes(640 * frames)))


def ended(reason: gateway_pb2.Ended.Reason.ValueType) -> gateway_pb2.ConverseResponse:
    return gateway_pb2.ConverseResponse(ended=gateway_pb2.Ended(reason=reason))


def leaving() -> gateway_pb2.ConverseResponse:
    return gateway_pb2.ConverseResponse(
        event=gateway_pb2.Event(kind=gateway_pb2.Event.KIND_GO_AWAY, detail="the gateway stops: the call ends in 28 s")
    )


class Scripted(gateway_pb2_grpc.GatewayServicer):
    """Answers each call with what the script says; the last call waits for the hang-up where it says nothing."""

    def __init__(self, *script: Sequence[gateway_pb2.ConverseResponse | grpc.StatusCode]) -> None:
        self.starts: list[gateway_pb2.Start] = []
        self._script = list(script)

    async def Converse(
        self, requests: AsyncIterator[gateway_pb2.ConverseRequest], context: grpc.aio.ServicerContext
    ) -> AsyncIterator[gateway_pb2.ConverseResponse]:
        self.starts.append((await anext(requests)).start)
        for answer in self._script.pop(0):
            if isinstance(answer, grpc.StatusCode):
                await context.abort(answer)
            yield answer
            if answer.HasField("ended"):
                return
        async for _ in requests:
            pass
        yield ended(HANGUP)


@asynccontextmanager
async def gateway(servicer: Scripted) -> AsyncIterator[str]:
    server = grpc.aio.server()
    gateway_pb2_grpc.add_GatewayServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)

"""Servicer of call control: what an operator's controller does to calls that are up."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc

from moshi_cluster.services.common.deadlines import within
from moshi_cluster.services.common.rpc import statuses
from moshi_cluster.services.gateway.admission.auth import TokenGate, bearer, token_file
from moshi_cluster.services.gateway.calls.live_calls import LiveCall, LiveCalls
from moshi_cluster.services.gateway.calls.manager import CallManager
from moshi_cluster.services.gateway.settings import PREFIX, GatewaySettings
from moshi_cluster.v1 import call_control_pb2, call_control_pb2_grpc


class CallControlServicer(call_control_pb2_grpc.CallControlServicer):
    """Answers who shows a token of the file that the settings name."""

    def __init__(self, settings: GatewaySettings, manager: CallManager) -> None:
        """Raises SettingError for a file that cannot be read, or holds no token."""
        tokens = token_file(settings.control_token_file, f"{PREFIX}CONTROL_TOKEN_FILE")
        self._gate = TokenGate(tokens, manager.metrics.wrong_token)
        self._calls: LiveCalls = manager.calls
        self._timeout_s = settings.flush_timeout_s

    async def ListCalls(
        self, request: call_control_pb2.ListCallsRequest, context: grpc.aio.ServicerContext
    ) -> call_control_pb2.ListCallsResponse:
        """Every call."""
        async with self._allowed(context):
            return call_control_pb2.ListCallsResponse(calls=[_rendered(live) for live in self._calls])

    async def Hangup(
        self, request: call_control_pb2.HangupRequest, context: grpc.aio.ServicerContext
    ) -> call_control_pb2.HangupResponse:
        """Ends a call."""
        async with self._allowed(context):
            self._calls.find(request.session_id).hang_up()
            return call_control_pb2.HangupResponse()

    async def Transfer(
        self, request: call_control_pb2.TransferRequest, context: grpc.aio.ServicerContext
    ) -> call_control_pb2.TransferResponse:
        """Hands a caller to somebody else."""
        async with self._allowed(context):
            transfer = self._calls.find(request.session_id).transfer(request.to)
            await within(transfer, self._timeout_s, "the far end does not read")
            return call_control_pb2.TransferResponse()

    async def SendDtmf(
        self, request: call_control_pb2.SendDtmfRequest, context: grpc.aio.ServicerContext
    ) -> call_control_pb2.SendDtmfResponse:
        """Plays tones to a caller."""
        async with self._allowed(context):
            sending = self._calls.find(request.session_id).send_digits(request.digits)
            await within(sending, self._timeout_s, "the far end does not read")
            return call_control_pb2.SendDtmfResponse()

    @asynccontextmanager
    async def _allowed(self, context: grpc.aio.ServicerContext) -> AsyncIterator[None]:
        async with statuses(context):
            metadata = dict(context.invocation_metadata() or ())
            await self._gate.require(bearer(metadata.get("authorization")), context.peer().rpartition(":")[0])
            yield


def _rendered(live: LiveCall) -> call_control_pb2.LiveCall:
    return call_control_pb2.LiveCall(
        session_id=live.record.session_id,
        transport=live.record.transport,
        label=live.label,
        seconds=round(time.monotonic() - live.since_s, 3),
    )

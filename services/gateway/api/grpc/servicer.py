"""Servicer of the public gRPC contract: one Converse stream is one call."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from urllib.parse import unquote

import grpc

from moshi_cluster.services.common.deadlines import within
from moshi_cluster.services.common.errors import session_error
from moshi_cluster.services.common.rpc import statuses
from moshi_cluster.services.gateway.admission.auth import bearer
from moshi_cluster.services.gateway.admission.trusted_proxies import TrustedProxies
from moshi_cluster.services.gateway.api.grpc.metadata_options import Metadata, parse_call
from moshi_cluster.services.gateway.api.grpc.requests import CallerMessages
from moshi_cluster.services.gateway.api.grpc.responses import render
from moshi_cluster.services.gateway.calls.call import Call
from moshi_cluster.services.gateway.calls.conversation import Conversation
from moshi_cluster.services.gateway.calls.events import Outgoing
from moshi_cluster.services.gateway.calls.history import History
from moshi_cluster.services.gateway.calls.manager import CallManager
from moshi_cluster.services.gateway.calls.spec import CallSpec
from moshi_cluster.services.gateway.settings import GatewaySettings
from moshi_cluster.v1 import gateway_pb2, gateway_pb2_grpc

_FORWARDED_FOR = "x-forwarded-for"
# A caller's deadline passes before ours, since theirs counts from before the call came here; who hangs up in the last
# half second before it is counted with those whose deadline passed.
_SOONER_S = 0.5


class ConverseServicer(gateway_pb2_grpc.GatewayServicer):
    """Feeds callers' messages to calls of the manager, and writes what leaves them."""

    def __init__(self, settings: GatewaySettings, manager: CallManager) -> None:
        self._settings = settings
        self._manager = manager
        self._proxies = TrustedProxies(settings.trusted_proxies if settings.grpc_forwarded_for else ())

    async def Converse(self, request_iterator: object, context: grpc.aio.ServicerContext) -> None:
        """A call from its `start` to its status, by the table of services.common.errors."""
        budget = self._manager.loop_budget.call()
        messages = CallerMessages(context.read, self._settings, budget)
        ended_as = partial(cancelled_as, context)
        async with statuses(context), _reading_on(messages), self._manager.session("grpc", ended_as) as record:
            await context.send_initial_metadata(())  # clients may wait for it before they send anything
            metadata = context.invocation_metadata() or ()
            client = self._client(context.peer(), metadata)
            came_s = time.monotonic()
            await self._manager.openings.enter(client)
            waited_s = time.monotonic() - came_s
            start = await within(messages.start(), self._settings.open_timeout_s, "no `start` came")
            called_s = time.monotonic() - waited_s
            token = bearer(dict(metadata).get("authorization"))
            await self._manager.authenticate(record, token, client)
            spec = parse_call(start, metadata, self._settings)
            if spec.loopback:
                budget.narrow()
            conversation = await self._conversation(start, spec, token)
            spec = replace(spec, sampling=conversation.sampling, persona=conversation.persona)

            async def read(call: Call) -> None:
                await messages.feed(call, start)

            async def send(item: Outgoing) -> None:
                await context.write(render(item))

            with self._manager.conversations.resumable(conversation):
                async with self._manager.reserve(client, spec, conversation.history) as reservation:
                    await self._manager.converse(record, reservation, read, send, called_s, conversation)

    async def _conversation(self, start: gateway_pb2.Start, spec: CallSpec, token: str | None) -> Conversation:
        """The conversation that a call is: another one, or more of that which it goes on with. Raises CannotResume."""
        if not start.resume_token:
            seed = spec.sampling.seed
            return Conversation(spec.sampling, seed, seed, History(), token, spec.persona)
        earlier = await self._manager.conversations.take(start.resume_token, token)
        return earlier.going_on(start.resume_heard_frames)

    def _client(self, peer: str, metadata: Metadata) -> str:
        """The caller's address. peer: as gRPC spells it, ipv4:10.0.0.1:5000 or ipv6:%5B::1%5D:5000."""
        forwarded_for = [value for key, value in metadata if key == _FORWARDED_FOR and isinstance(value, str)]
        return self._proxies.client(unquote(peer.partition(":")[2]), forwarded_for)


@asynccontextmanager
async def _reading_on(messages: CallerMessages) -> AsyncIterator[None]:
    """Reads on before an error raised inside refuses the caller; by then nothing of theirs is held."""
    try:
        yield
    except Exception as error:
        if session_error(error) is not None:
            await messages.read_on()
        raise


def cancelled_as(context: grpc.aio.ServicerContext) -> str:
    """The status of a call that gRPC has ended: at its deadline, or because the caller is gone."""
    left_s = context.time_remaining()
    return "CANCELLED" if left_s is None or left_s > _SOONER_S else "DEADLINE_EXCEEDED"

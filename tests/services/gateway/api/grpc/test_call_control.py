"""An operator's controller acts on calls that are up, whatever carries them, and nobody else does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from moshi_cluster.v1 import call_control_pb2 as control
from moshi_cluster.v1 import call_control_pb2_grpc
from tests.services.gateway.api.telephony.simulators.audiohook import GenesysPhone
from tests.services.gateway.api.telephony.simulators.dialects import PlivoPhone
from tests.services.gateway.api.telephony.simulators.freeswitch import ModAudioForkPhone
from tests.services.gateway.api.telephony.simulators.phone import Gateway, calling
from tests.services.gateway.api.websocket.chatter import HTTP, LOOPBACK, chatting
from tests.services.gateway.caller import Caller
from tests.services.gateway.cluster import Cluster, cluster
from tests.services.in_process import eventually

SHOWN = (("authorization", "Bearer operator"),)


@asynccontextmanager
async def controlled(tmp_path: Path, **settings: Any) -> AsyncIterator[tuple[Cluster, Any]]:
    """A cluster, and a stub of its call control."""
    path = tmp_path / "tokens"
    path.write_text("operator\n")
    async with cluster(control_token_file=str(path), **settings) as all_of_it:
        yield all_of_it, call_control_pb2_grpc.CallControlStub(all_of_it.channel)


async def live_call(all_of_it: Cluster, stub: Any) -> Any:
    """The one call, which a caller may hear of before it is listed."""
    await eventually(lambda: len(all_of_it.manager.calls) == 1)
    (live,) = (await stub.ListCalls(control.ListCallsRequest(), metadata=SHOWN)).calls
    return live


async def status(answer: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await answer
    return raised.value.code(), raised.value.details() or ""


async def test_a_call_over_grpc_is_listed_and_hung_up_well(tmp_path: Path) -> None:
    async with controlled(tmp_path) as (all_of_it, stub):
        caller = Caller(all_of_it.stub)
        session_id = (await caller.start(call_label="a call")).session_id
        live = await live_call(all_of_it, stub)
        assert (live.session_id, live.transport, live.label) == (session_id, "grpc", "a call")
        await stub.Hangup(control.HangupRequest(session_id=session_id), metadata=SHOWN)
        assert (await caller.rest()).ended.reason == caller.heard.ended.REASON_HANGUP
        assert not (await stub.ListCalls(control.ListCallsRequest(), metadata=SHOWN)).calls


async def test_a_call_of_a_browser_is_hung_up_too(tmp_path: Path) -> None:
    async with controlled(tmp_path, **HTTP) as (all_of_it, stub), chatting(all_of_it, LOOPBACK) as chatter:
        await chatter.ready()
        live = await live_call(all_of_it, stub)
        assert live.transport == "websocket"
        await stub.Hangup(control.HangupRequest(session_id=live.session_id), metadata=SHOWN)
        assert await chatter.end() == (1000, "")


async def test_a_telephone_system_gets_the_commands_that_it_has(tmp_path: Path) -> None:
    phone = PlivoPhone()
    async with controlled(tmp_path, **HTTP, telephony=("plivo",)) as (all_of_it, stub):
        gateway = Gateway(f"127.0.0.1:{all_of_it.service.http_port}")
        async with calling(phone, gateway, loopback="true"):
            live = await live_call(all_of_it, stub)
            assert (live.transport, live.label) == ("plivo", "plivo")
            await stub.SendDtmf(control.SendDtmfRequest(session_id=live.session_id, digits="12#"), metadata=SHOWN)
            await eventually(lambda: phone.digits == "12#")
            refused = stub.Transfer(control.TransferRequest(session_id=live.session_id, to="+1"), metadata=SHOWN)
            assert (await status(refused))[0] == grpc.StatusCode.UNIMPLEMENTED
            await stub.Hangup(control.HangupRequest(session_id=live.session_id), metadata=SHOWN)
            await phone.until_over()
            assert phone.socket.close_code == 1000


async def test_what_cannot_be_is_refused_by_name(tmp_path: Path) -> None:
    async with controlled(tmp_path) as (all_of_it, stub):
        session_id = (await Caller(all_of_it.stub).start()).session_id
        keys = {"session_id": session_id, "digits": "1x"}
        for answer, code, text in (
            (stub.SendDtmf(control.SendDtmfRequest(**keys), metadata=SHOWN), "INVALID_ARGUMENT", "digits: must be"),
            (stub.Transfer(control.TransferRequest(session_id=session_id), metadata=SHOWN), "INVALID_ARGUMENT", "to: "),
            (stub.Hangup(control.HangupRequest(session_id="0"), metadata=SHOWN), "NOT_FOUND", "no call"),
            (stub.Hangup(control.HangupRequest(session_id=session_id)), "UNAUTHENTICATED", "asks for a token"),
        ):
            found, details = await status(answer)
            assert found.name == code
            assert details.startswith(text) or text in details


async def test_without_tokens_of_its_own_it_is_not_served() -> None:
    async with cluster() as all_of_it:
        stub = call_control_pb2_grpc.CallControlStub(all_of_it.channel)
        assert (await status(stub.ListCalls(control.ListCallsRequest())))[0] == grpc.StatusCode.UNIMPLEMENTED


async def test_freeswitch_is_told_of_a_transfer_and_to_disconnect(tmp_path: Path) -> None:
    phone = ModAudioForkPhone()
    async with controlled(tmp_path, **HTTP, telephony=("mod_audio_fork",)) as (all_of_it, stub):
        where = Gateway(f"127.0.0.1:{all_of_it.service.http_port}")
        async with calling(phone, where, loopback="true"):
            live = await live_call(all_of_it, stub)
            transfer = control.TransferRequest(session_id=live.session_id, to="sip:1@example.org")
            await stub.Transfer(transfer, metadata=SHOWN)
            await stub.Hangup(control.HangupRequest(session_id=live.session_id), metadata=SHOWN)
            await phone.until_over()
        assert (phone.transfers, phone.disconnects) == (["sip:1@example.org"], 1)


@pytest.mark.parametrize("transfers", [True, False])
async def test_genesys_is_asked_to_close_and_its_flow_told_whom_to_transfer_to(tmp_path: Path, transfers: bool) -> None:
    phone = GenesysPhone()
    async with controlled(tmp_path, **HTTP, telephony=("genesys",)) as (all_of_it, stub):
        async with calling(phone, Gateway(f"127.0.0.1:{all_of_it.service.http_port}"), loopback="true"):
            live = await live_call(all_of_it, stub)
            if transfers:
                await stub.Transfer(control.TransferRequest(session_id=live.session_id, to="+1555"), metadata=SHOWN)
            else:
                await stub.Hangup(control.HangupRequest(session_id=live.session_id), metadata=SHOWN)
            await phone.until_over()
        variables = {"outputVariables": {"action": "transfer", "transfer_to": "+1555"}} if transfers else {}
        assert phone.disconnects == [{"reason": "completed", **variables}]
        assert (phone.is_closed, phone.socket.close_code) == (True, 1000)

"""The driver of all wires: deadlines, allow lists, tokens, barge-in, and how calls end, over the Twilio wire."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest

from moshi_cluster.audio.pcm import Samples
from tests.services.gateway.api.telephony.simulators.media_streams import TwilioPhone
from tests.services.gateway.api.telephony.simulators.phone import Gateway, calling
from tests.services.gateway.api.websocket.chatter import HTTP
from tests.services.gateway.cluster import Cluster, cluster
from tests.services.in_process import eventually

TWILIO: dict[str, Any] = {**HTTP, "telephony": ("twilio",)}
QUIET: Samples = np.zeros(160, np.float32)
LOUD: Samples = np.full(160, 0.3, np.float32)


def gateway_of(all_of_it: Cluster) -> Gateway:
    return Gateway(f"127.0.0.1:{all_of_it.service.http_port}")


async def closed(phone: TwilioPhone, all_of_it: Cluster) -> int | None:
    await phone.until_over()
    await all_of_it.until_free()
    return phone.socket.close_code


async def test_a_wire_that_is_not_served_is_not_found() -> None:
    async with cluster(**HTTP, telephony=("telnyx",)) as all_of_it:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await TwilioPhone().dial(gateway_of(all_of_it), {})
        assert refused.value.status == 404


@pytest.mark.parametrize(("networks", "status"), [(("10.0.0.0/8",), 403), (("127.0.0.0/8",), None)])
async def test_only_listed_networks_call(networks: tuple[str, ...], status: int | None) -> None:
    async with cluster(**TWILIO, telephony_networks=networks) as all_of_it:
        phone = TwilioPhone()
        if status is None:
            async with calling(phone, gateway_of(all_of_it), loopback="true"):
                await phone.hang_up()
                assert await closed(phone, all_of_it) == 1000
            return
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await phone.dial(gateway_of(all_of_it), {})
        assert refused.value.status == status
        assert all_of_it.sample("moshi_gateway_http_refused_total", reason="telephony") == 1


@pytest.mark.parametrize(("token", "code"), [("caller", 1000), ("other", 1008), ("", 1008)])
async def test_a_token_may_come_as_a_parameter(tmp_path: Path, token: str, code: int) -> None:
    path = tmp_path / "tokens"
    path.write_text("caller\n")
    async with cluster(**TWILIO, token_file=str(path)) as all_of_it:
        phone = TwilioPhone()
        async with calling(phone, gateway_of(all_of_it), loopback="true", token=token):
            await phone.hang_up()
            assert await closed(phone, all_of_it) == code


async def test_who_begins_no_call_is_left() -> None:
    async with cluster(**TWILIO, open_timeout_s=0.2) as all_of_it:
        phone = TwilioPhone()
        await phone.connect(gateway_of(all_of_it))
        assert await closed(phone, all_of_it) == 1000
        await phone.close()


async def test_a_message_that_is_wrong_ends_the_call_and_says_so() -> None:
    async with cluster(**TWILIO) as all_of_it:
        phone = TwilioPhone()
        async with calling(phone, gateway_of(all_of_it), loopback="true"):
            await phone.send('{"event": "media", "media": {"payload": "%"}}')
            assert await closed(phone, all_of_it) == 1008


async def test_a_connection_that_is_lost_frees_everything() -> None:
    async with cluster(**TWILIO) as all_of_it:
        phone = TwilioPhone()
        async with calling(phone, gateway_of(all_of_it)):
            await eventually(lambda: len(all_of_it.manager.calls) == 1)
            phone.socket._writer.transport.abort()
            await all_of_it.until_free()
        assert all_of_it.sample("moshi_gateway_sessions_total", outcome="CANCELLED", transport="twilio") == 1


async def test_what_a_network_did_is_counted() -> None:
    async with cluster(**TWILIO) as all_of_it:
        phone = TwilioPhone()
        async with calling(phone, gateway_of(all_of_it), loopback="true"):
            for number in (1, 2, 2, 4, 3, 6, 7, 8, 9, 5):
                await phone.media(number, 20 * (number - 1), bytes(160))
            await phone.event("tomorrow")
            await phone.hang_up()
            assert await closed(phone, all_of_it) == 1000
        counted = {"received": 10, "repeated": 1, "reordered": 1, "lost": 1, "filled": 1, "late": 1, "unknown": 1}
        for kind, count in counted.items():
            assert all_of_it.sample("moshi_gateway_wire_packets_total", transport="twilio", kind=kind) == count, kind


async def test_who_speaks_while_much_waits_at_the_far_end_throws_it_away() -> None:
    async with cluster(**TWILIO, telephony_barge_in_ms=200) as all_of_it:
        phone = TwilioPhone()
        async with calling(phone, gateway_of(all_of_it), loopback="true"):
            await phone.say(QUIET)
            for _ in range(20):
                await phone.say(QUIET)
            await eventually(lambda: bool(phone.marks))
            phone.echoes = False  # from here on it plays nothing
            for _ in range(100):
                await phone.say(QUIET)
            await phone.until_heard(100 * 160)
            assert phone.clears == 0
            for _ in range(40):
                await phone.say(LOUD)
            await eventually(lambda: phone.clears == 1)
            await phone.hang_up()
            assert await closed(phone, all_of_it) == 1000
        assert phone.clears == 1


async def test_no_more_is_sent_ahead_than_the_far_end_may_hold() -> None:
    async with cluster(**TWILIO, reply_backlog_ms=1000) as all_of_it:
        phone = TwilioPhone()
        async with calling(phone, gateway_of(all_of_it), loopback="true"):
            for _ in range(20):
                await phone.say(QUIET)
            await eventually(lambda: bool(phone.marks))
            phone.echoes = False
            for _ in range(200):
                await phone.say(QUIET)
            held = -1
            while phone.sound.size > held:
                held = phone.sound.size
                await asyncio.sleep(0.1)
            assert phone.sound.size <= (0.4 + 0.5 + 0.2) * 8000  # said before, half of the backlog, and a packet
            await phone.send_played(phone.marks[-1])
            await eventually(lambda: phone.sound.size > held)


async def test_what_the_far_end_holds_is_played_before_the_gateway_closes() -> None:
    async with cluster(**TWILIO) as all_of_it:
        phone = TwilioPhone()
        async with calling(phone, gateway_of(all_of_it), loopback="true"):
            for _ in range(20):
                await phone.say(QUIET)
            await eventually(lambda: bool(phone.marks))
            phone.echoes = False
            for _ in range(20):
                await phone.say(QUIET)
            await phone.until_heard(40 * 160)
            (live,) = all_of_it.manager.calls
            live.hang_up()
            await eventually(lambda: not len(all_of_it.manager.calls))
            await asyncio.sleep(0.1)
            assert not phone.over.is_set()
            await phone.send_played(phone.marks[-1])
            assert await closed(phone, all_of_it) == 1000


async def test_calls_that_a_stop_cuts_are_told_and_closed_well() -> None:
    async with cluster(**TWILIO) as all_of_it:
        phone = TwilioPhone()
        async with calling(phone, gateway_of(all_of_it)):
            await eventually(lambda: len(all_of_it.manager.calls) == 1)
            all_of_it.manager.drain(0.0)
            assert await closed(phone, all_of_it) == 1000
        assert phone.clears == 0

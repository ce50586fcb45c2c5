"""Calls of a simulated Asterisk through a real gateway, over both of its wires."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import numpy as np
import pytest

from moshi_cluster.services.common.settings import SettingError
from moshi_cluster.services.gateway.admission import loop_budget
from tests.services.gateway.api.telephony.simulators.asterisk import AsteriskPhone, AudioSocketPhone
from tests.services.gateway.api.telephony.simulators.phone import Gateway, Phone, calling
from tests.services.gateway.api.telephony.test_calls import gateway_of, likeness, tone
from tests.services.gateway.api.websocket.chatter import HTTP
from tests.services.gateway.cluster import Cluster, cluster
from tests.services.in_process import eventually


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Cluster]:
    """A gateway whose AudioSocket hears itself: the wire carries no wish of its own."""
    profiles = tmp_path / "profiles.json"
    profiles.write_text(json.dumps({"*": {"loopback": True}}))
    wires = {"telephony": ("asterisk", "audiosocket"), "audiosocket_port": 0, "audiosocket_profiles": str(profiles)}
    async with cluster(**HTTP, **wires) as all_of_it:
        yield all_of_it


@asynccontextmanager
async def in_call(phone: Phone, served: Cluster) -> AsyncIterator[None]:
    parameters = {"loopback": "true"} if isinstance(phone, AsteriskPhone) else {}
    async with calling(phone, gateway_of(served), **parameters):
        yield
    await served.until_free()


def calls(served: Cluster, phone: Phone, outcome: str) -> float:
    return served.sample("moshi_gateway_sessions_total", transport=phone.wire, outcome=outcome)


PHONES = {
    "json slin24": lambda: AsteriskPhone("slin24"),
    "plain ulaw": lambda: AsteriskPhone("ulaw", is_json=False),
    "json alaw": lambda: AsteriskPhone("alaw"),
    "plain slin16": lambda: AsteriskPhone("slin16", is_json=False),
    "audiosocket 8 kHz": lambda: AudioSocketPhone(0x10),
    "audiosocket 24 kHz": lambda: AudioSocketPhone(0x13),
    "audiosocket 48 kHz": lambda: AudioSocketPhone(0x16),
}


@pytest.mark.parametrize("name", PHONES)
async def test_what_is_said_comes_back_in_every_form(name: str, served: Cluster) -> None:
    phone = PHONES[name]()
    said = tone(phone, 16)
    async with in_call(phone, served):
        for packet in said:
            await phone.say(packet)
        await phone.until_heard(16 * phone.packet_samples)
        await phone.hang_up()
        await phone.until_over()
    assert likeness(np.concatenate(said), phone.sound) > 0.99
    await eventually(lambda: calls(served, phone, "ok") == 1)


async def test_a_collection_of_garbage_while_a_message_is_read_ends_no_call(
    served: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    phone, collected = AudioSocketPhone(0x16), []

    def thread_time() -> float:
        """Half a second passes at every tenth look."""
        collected.append(0.5 * (len(collected) % 10 == 9))
        return sum(collected)

    monkeypatch.setattr(loop_budget.time, "thread_time", thread_time)
    async with in_call(phone, served):
        for packet in tone(phone, 16):
            await phone.say(packet)
        await phone.until_heard(15 * phone.packet_samples)
        await phone.hang_up()
        await phone.until_over()
    await eventually(lambda: calls(served, phone, "ok") == 1)


async def test_a_channel_of_asterisk_is_answered_once_the_call_is_up(served: Cluster) -> None:
    phone = AsteriskPhone()
    async with in_call(phone, served):
        for packet in tone(phone, 4):
            await phone.say(packet)
        await phone.until_heard(4 * phone.packet_samples)
        assert phone.queue.commands[0] == "ANSWER"
        await phone.hang_up()


async def test_asterisk_hears_nothing_while_it_holds_voice_back(served: Cluster) -> None:
    phone = AsteriskPhone()
    async with in_call(phone, served):
        for packet in tone(phone, 4):
            await phone.say(packet)
        await phone.until_heard(4 * phone.packet_samples)
        await phone.send('{"event":"MEDIA_XOFF","channel_id":"1"}')
        for packet in tone(phone, 8):
            await phone.say(packet)
        await phone.press("1")
        held = len(phone.heard)
        await asyncio.sleep(0.3)
        assert len(phone.heard) == held
        await phone.send('{"event":"MEDIA_XON","channel_id":"1"}')
        await phone.until_heard(12 * phone.packet_samples)
        await phone.hang_up()


@pytest.mark.parametrize("name", ["json slin24", "audiosocket 8 kHz"])
async def test_a_gateway_that_stops_hangs_up(name: str, served: Cluster) -> None:
    phone = PHONES[name]()
    async with in_call(phone, served):
        for packet in tone(phone, 4):
            await phone.say(packet)
        await phone.until_heard(4 * phone.packet_samples)
        served.manager.drain(0.0)
        await phone.until_over()
        if isinstance(phone, AsteriskPhone):
            assert phone.queue.is_hung_up


@pytest.mark.parametrize(
    ("message", "outcome"),
    [("7 nonsense", "INVALID_ARGUMENT"), ('{"event":"MEDIA_START","format":"opus"}', "INVALID_ARGUMENT")],
)
async def test_a_channel_that_cannot_be_is_closed_with_its_reason(message: str, outcome: str, served: Cluster) -> None:
    phone = AsteriskPhone()
    await phone.connect(gateway_of(served))
    await phone.send(message)
    await phone.until_over()
    await phone.close()
    await served.until_free()
    await eventually(lambda: calls(served, phone, outcome) == 1)
    assert phone.socket.close_code in (1000, aiohttp.WSCloseCode.POLICY_VIOLATION)


@pytest.mark.parametrize(
    ("data", "outcome"),
    [
        (b"GET / HTTP/1.1\r\n\r\n" + bytes(30_000), "INVALID_ARGUMENT"),
        (b"", "CANCELLED"),
        (b"\x01\x00\x10" + bytes(7), "CANCELLED"),
        (b"\x01\x00\x10" + bytes(16) + b"\xff\x00\x01\x04", "CANCELLED"),
    ],
)
async def test_bytes_that_are_no_call_leave_nothing_behind(data: bytes, outcome: str, served: Cluster) -> None:
    phone = AudioSocketPhone()
    reader, writer = await asyncio.open_connection("127.0.0.1", served.service.stream_ports["audiosocket"])
    writer.write(data)
    writer.write_eof()
    assert await reader.read() in (b"", b"\x00\x00\x00")
    writer.close()
    await served.until_free()
    await eventually(lambda: calls(served, phone, outcome) == 1)


@pytest.mark.parametrize("changes", [{"audiosocket_host": "0.0.0.0"}, {"token_file": "tokens"}])
async def test_a_wire_without_a_token_wants_to_know_who_may_call(changes: dict[str, str], tmp_path: Path) -> None:
    if "token_file" in changes:
        (tmp_path / "tokens").write_text("secret\n")
        changes = {"token_file": str(tmp_path / "tokens")}
    with pytest.raises(SettingError, match="TELEPHONY_NETWORKS"):
        async with cluster(telephony=("audiosocket",), audiosocket_port=0, **changes):
            pass
    networks = ("10.0.0.0/8", "127.0.0.1")
    async with cluster(
        telephony=("audiosocket",), audiosocket_port=0, telephony_networks=networks, **changes
    ) as served:
        phone = AudioSocketPhone()
        async with calling(phone, Gateway("", {"audiosocket": served.service.stream_ports["audiosocket"]})):
            for packet in tone(phone, 4):
                await phone.say(packet)
            await phone.until_heard(4 * phone.packet_samples)
            await phone.hang_up()


async def test_an_address_that_is_not_listed_is_let_go_at_once() -> None:
    async with cluster(telephony=("audiosocket",), audiosocket_port=0, telephony_networks=("10.0.0.0/8",)) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.service.stream_ports["audiosocket"])
        assert await reader.read() == b""
        writer.close()

"""Calls of telephone systems through a real gateway: what is said comes back, and ends as calls do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.telephony.phones import PHONES, PORTS
from moshi_cluster.audio.pcm import Samples
from tests.services.gateway.api.telephony.simulators.phone import Gateway, Phone, calling
from tests.services.gateway.api.websocket.chatter import HTTP
from tests.services.gateway.cluster import Cluster, cluster
from tests.services.in_process import eventually


def gateway_of(all_of_it: Cluster) -> Gateway:
    return Gateway(f"127.0.0.1:{all_of_it.service.http_port}", all_of_it.service.stream_ports)


async def ended(all_of_it: Cluster, wire: str, outcome: str = "ok") -> None:
    """Returns once a call of a wire ended so."""
    name = "moshi_gateway_sessions_total"
    await eventually(lambda: all_of_it.sample(name, transport=wire, outcome=outcome) == 1)


async def received(all_of_it: Cluster, wire: str, packets: int) -> None:
    """Returns once so many packets of a wire are counted, which is when its connection is over."""
    name = "moshi_gateway_wire_packets_total"
    await eventually(lambda: all_of_it.sample(name, transport=wire, kind="received") == packets)


def tone(phone: Phone, packets: int) -> list[Samples]:
    """A tone, cut into packets."""
    samples = np.arange(packets * phone.packet_samples, dtype=np.float32)
    return np.split(0.3 * np.sin(samples * (2 * np.pi * 573 / phone.rate_hz)).astype(np.float32), packets)


@pytest.mark.parametrize("wire", PHONES)
async def test_what_is_said_comes_back(wire: str, tmp_path: Path) -> None:
    phone = PHONES[wire]()
    profiles = tmp_path / "profiles.json"  # for the wire that carries no parameters
    profiles.write_text('{"*": {"loopback": true}}')
    ports = dict.fromkeys(PORTS.values(), 0)
    async with cluster(**HTTP, telephony=(wire,), audiosocket_profiles=str(profiles), **ports) as all_of_it:
        async with calling(phone, gateway_of(all_of_it), loopback="true", label="a call"):
            said = tone(phone, 1600 // phone.packet_ms)
            for packet in said:
                await phone.say(packet)
            await phone.until_heard(phone.rate_hz)
            await phone.press("5")
            await phone.hang_up()
            await phone.until_over()
        await all_of_it.until_free()
        await ended(all_of_it, wire)
        await received(all_of_it, wire, len(said))
        assert all_of_it.sample("moshi_gateway_wire_packets_total", transport=wire, kind="lost") == 0
        assert all_of_it.sample("moshi_gateway_dtmf_total") == 1
    assert likeness(np.concatenate(said), phone.sound) > 0.99


def likeness(said: Samples, heard: Samples) -> float:
    """Best correlation of what was heard with the beginning of what was said, wherever it begins."""
    piece = heard[heard.size // 4 : heard.size // 2]
    whole = np.lib.stride_tricks.sliding_window_view(said, piece.size)
    scale = np.linalg.norm(whole, axis=1) * np.linalg.norm(piece)
    return float((whole @ piece / scale).max())

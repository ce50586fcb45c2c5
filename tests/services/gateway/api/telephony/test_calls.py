"""Calls of telephone systems through a real gateway: what is said comes back, and ends as calls do."""

from __future__ import annotations

import numpy as np

from tests.services.gateway.api.telephony.simulators.media_streams import TwilioPhone
from tests.services.gateway.api.telephony.simulators.phone import Gateway, Phone, calling
from tests.services.gateway.api.websocket.chatter import HTTP
from tests.services.gateway.cluster import Cluster, cluster


def gateway_of(all_of_it: Cluster) -> Gateway:
    return Gateway(f"127.0.0.1:{all_of_it.service.http_port}")


def tone(phone: Phone, packets: int) -> list[np.ndarray]:
    """A tone, cut into packets."""
    samples = np.arange(packets * phone.packet_samples, dtype=np.float32)
    return np.split(0.3 * np.sin(samples * (2 * np.pi * 573 / phone.rate_hz)).astype(np.float32), packets)


async def test_what_is_said_comes_back() -> None:
    phone = TwilioPhone()
    async with cluster(**HTTP, telephony=("twilio",)) as all_of_it:
        async with calling(phone, gateway_of(all_of_it), loopback="true"):
            for packet in tone(phone, 40):
                await phone.say(packet)
            await phone.until_heard(39 * 160)
            await phone.hang_up()
            await phone.until_over()
        await all_of_it.until_free()
        assert all_of_it.sample("moshi_gateway_wire_calls_total", transport="twilio", outcome="ok") == 1
        assert all_of_it.sample("moshi_gateway_wire_packets_total", transport="twilio", kind="received") == 40

"""Every wire has its simulator."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from benchmarks.telephony.grpc_phone import GrpcPhone
from benchmarks.telephony.phones import PHONES, PORTS
from moshi_cluster.clients.telephony import CallError
from moshi_cluster.services.gateway.api.telephony.wires import OVER_STREAM, OVER_WEBSOCKET
from tests.services.gateway.api.telephony.simulators.phone import Gateway
from tests.services.gateway.cluster import EchoLm, cluster
from tests.services.in_process import PATIENCE_S


def test_every_wire_has_a_simulator() -> None:
    assert PHONES.keys() == OVER_WEBSOCKET.keys() | OVER_STREAM.keys()
    assert {name: stream.port for name, stream in OVER_STREAM.items()} == PORTS
    assert all(phone.wire == name for name, phone in PHONES.items())


async def test_the_phone_over_grpc_holds_a_call_and_says_why_it_could_not() -> None:
    async with cluster(lms=[EchoLm(slots=1)]) as running:
        gateway = Gateway("", {"grpc": int(running.target.rpartition(":")[2])})
        phone, other = GrpcPhone(), GrpcPhone()
        await phone.dial(gateway, {"seed": "1", "label": "first"})
        await other.dial(gateway, {"seed": "2", "label": "second"})
        with pytest.raises(CallError, match="RESOURCE_EXHAUSTED"):
            await other.close()
        for _ in range(8):
            await phone.say(np.full(phone.packet_samples, 0.5, np.float32))
        await phone.press("5")
        await phone.hang_up()
        await asyncio.wait_for(phone.over.wait(), PATIENCE_S)
        await phone.close()
        assert phone.sound.size == 8 * phone.packet_samples

"""Every wire has its simulator."""

from __future__ import annotations

from benchmarks.telephony.phones import PHONES, PORTS
from moshi_cluster.services.gateway.api.telephony.wires import OVER_STREAM, OVER_WEBSOCKET


def test_every_wire_has_a_simulator() -> None:
    assert PHONES.keys() == OVER_WEBSOCKET.keys() | OVER_STREAM.keys()
    assert {name: stream.port for name, stream in OVER_STREAM.items()} == PORTS
    assert all(phone.wire == name for name, phone in PHONES.items())

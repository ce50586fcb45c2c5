"""A few hundred spoiled messages over each wire: every call gets an end, for no fault of the gateway's, none stays."""

from __future__ import annotations

import pytest

from benchmarks.fuzz.telephony import fuzz_wire
from benchmarks.telephony.phones import PHONES, PORTS
from tests.services.gateway.api.telephony.simulators.phone import Gateway
from tests.services.gateway.api.websocket.chatter import HTTP
from tests.services.gateway.cluster import cluster
from tests.tracebacks import tracebacks


@pytest.mark.parametrize("wire", PHONES)
async def test_spoiled_messages_end_a_call_and_nothing_else(wire: str, caplog: pytest.LogCaptureFixture) -> None:
    ports = dict.fromkeys(PORTS.values(), 0)
    async with cluster(**HTTP, telephony=(wire,), max_openings_per_s=1000.0, **ports) as all_of_it:
        gateway = Gateway(f"127.0.0.1:{all_of_it.service.http_port}", all_of_it.service.stream_ports)
        spoiler, failures = await fuzz_wire(wire, gateway, 200, seed=1, callers=3)
        assert spoiler.messages >= 200
        assert not failures
        await all_of_it.until_free()
        for outcome in ("INTERNAL", "UNKNOWN"):
            assert all_of_it.sample("moshi_gateway_sessions_total", transport=wire, outcome=outcome) == 0
    assert not tracebacks(caplog.records)

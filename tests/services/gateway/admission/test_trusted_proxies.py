"""Whose call it is: what proxies say, and what others say who would like to be somebody else."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moshi_cluster.services.gateway.admission.trusted_proxies import TrustedProxies, parse_address
from moshi_cluster.v1 import gateway_pb2_grpc
from tests.services.gateway.api.websocket.chatter import HTTP, LOOPBACK, chatting
from tests.services.gateway.caller import START
from tests.services.gateway.cluster import Cluster, cluster
from tests.services.in_process import eventually, read

PROXIES = TrustedProxies(["10.0.0.0/8", "192.0.2.7", "fd00::/8", "::1"])
LOCAL = {"trusted_proxies": ("127.0.0.1",)}
ADDRESSES = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).map(str)


@pytest.mark.parametrize(
    ("address", "forwarded_for", "client"),
    [
        ("203.0.113.9", [], "203.0.113.9"),
        ("203.0.113.9", ["198.51.100.1"], "203.0.113.9"),  # not of a proxy
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["198.51.100.66, 198.51.100.1"], "198.51.100.1"),  # the left one is the client's own word
        ("10.0.0.1", ["198.51.100.66", "198.51.100.1"], "198.51.100.1"),  # HAProxy adds a header of its own
        ("10.0.0.1", ["198.51.100.1, 10.2.3.4", "192.0.2.7"], "198.51.100.1"),  # three proxies in a row
        ("10.0.0.1", ["10.2.3.4, 10.5.6.7"], "10.2.3.4"),  # the client is in the proxies' network
        ("10.0.0.1:4711", ["198.51.100.1:5000"], "198.51.100.1"),
        ("10.0.0.1", ["[2001:db8::1]:5000"], "2001:db8::1"),
        ("10.0.0.1", ["[2001:db8::1]"], "2001:db8::1"),
        ("[fd00::7]:4711", ["2001:DB8:0::1"], "2001:db8::1"),
        ("fd00::7", ["::ffff:198.51.100.1"], "198.51.100.1"),
        ("::ffff:10.0.0.1", ["198.51.100.1"], "198.51.100.1"),  # a proxy's IPv4 on a listener of both
        ("fe80::1%eth0", ["198.51.100.1"], "fe80::1"),
        ("::1", ["198.51.100.1,,  "], "198.51.100.1"),
        ("unknown", ["198.51.100.1"], "unknown"),
    ],
)
def test_the_client_is_the_nearest_that_no_trusted_proxy_is(
    address: str, forwarded_for: list[str], client: str
) -> None:
    assert PROXIES.client(address, forwarded_for) == client


@pytest.mark.parametrize(
    "nonsense",
    ["unknown", "_hidden", "10.0.0", "1.2.3.4.5", "999.1.1.1", "[::1", "::1]", "1.2.3.4:999999", "a" * 8000, "\u0661"],
)
def test_what_is_no_address_is_said_and_leaves_the_proxy(nonsense: str, caplog: pytest.LogCaptureFixture) -> None:
    assert PROXIES.client("10.0.0.1", [f"198.51.100.1, {nonsense}, 10.0.0.2"]) == "10.0.0.2"
    assert "names a client by what is no address" in caplog.text
    assert nonsense not in caplog.text


@given(own=st.lists(ADDRESSES | st.text(), max_size=5), address=ADDRESSES, hops=st.integers(0, 3))
def test_what_a_client_sends_never_changes_who_they_are(own: list[str], address: str, hops: int) -> None:
    """Each proxy adds whom it saw; the client's own words stand before."""
    if PROXIES.trusts(address):
        return
    seen = [address, "10.0.0.1", "fd00::2"][: hops + 1]
    connected = ["10.0.0.1", "fd00::2", "192.0.2.7"][hops - 1] if hops else address
    assert PROXIES.client(connected, [*own, *(seen[:hops])]) == str(parse_address(address))


@given(st.text())
def test_any_text_is_an_address_or_none(text: str) -> None:
    address = parse_address(text)
    assert address is None or parse_address(str(address)) == address


def test_nobody_is_trusted_unless_named() -> None:
    assert TrustedProxies().client("127.0.0.1", ["198.51.100.1"]) == "127.0.0.1"


class Phone:
    """One call over gRPC with a forwarded address beside it."""

    def __init__(self, all_of_it: Cluster, *forwarded_for: str) -> None:
        metadata = tuple(("x-forwarded-for", value) for value in forwarded_for)
        self.call = gateway_pb2_grpc.GatewayStub(all_of_it.channel).Converse(metadata=metadata)

    async def is_refused(self) -> bool:
        """Whether it is, as one call too many of a client."""
        await self.call.write(START)
        try:
            await read(self.call)
        except grpc.aio.AioRpcError as error:
            return "already holds all its calls" in (error.details() or "")
        return False


async def test_a_quota_counts_clients_behind_a_proxy_over_both_transports() -> None:
    async with cluster(max_sessions_per_client=1, **LOCAL, **HTTP) as all_of_it:
        phone = Phone(all_of_it, "198.51.100.1")
        assert not await phone.is_refused()
        assert await Phone(all_of_it, "203.0.113.1", "198.51.100.1").is_refused()  # a header of their own before it
        assert not await Phone(all_of_it, "198.51.100.2").is_refused()
        for forwarded_for, expected in ("198.51.100.1:4711", 1013), ("2001:db8::1", None):
            async with chatting(all_of_it, LOOPBACK, headers={"X-Forwarded-For": forwarded_for}) as chatter:
                if expected is None:
                    await chatter.ready()
                else:
                    assert await chatter.end() == (expected, "this client already holds all its calls")


async def test_who_is_no_trusted_proxy_is_one_client_whatever_they_forward() -> None:
    async with cluster(max_sessions_per_client=1, trusted_proxies=("10.0.0.0/8",), **HTTP) as all_of_it:
        assert not await Phone(all_of_it, "198.51.100.1").is_refused()
        assert await Phone(all_of_it, "198.51.100.2").is_refused()
        async with chatting(all_of_it, LOOPBACK, headers={"X-Forwarded-For": "198.51.100.3"}) as chatter:
            assert await chatter.end() == (1013, "this client already holds all its calls")


async def test_what_callers_forward_is_not_believed_where_the_proxy_passes_bytes_on() -> None:
    async with cluster(max_sessions_per_client=1, grpc_forwarded_for=False, **LOCAL) as all_of_it:
        assert not await Phone(all_of_it, "198.51.100.1").is_refused()
        assert await Phone(all_of_it, "198.51.100.2").is_refused()


async def test_who_tries_tokens_behind_a_proxy_slows_down_nobody_else(tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text("right\n")
    wrong = "?token=wrong"
    async with cluster(token_file=str(tmp_path / "tokens"), **LOCAL, **HTTP) as all_of_it:

        async def tries() -> tuple[int | None, str]:
            async with chatting(all_of_it, wrong, headers={"X-Forwarded-For": "198.51.100.1"}) as chatter:
                return await chatter.end()

        trying = [asyncio.create_task(tries()) for _ in range(6)]
        await eventually(lambda: all_of_it.sample("moshi_gateway_wrong_tokens_total") == 4)
        async with chatting(all_of_it, "?token=right", headers={"X-Forwarded-For": "198.51.100.2"}) as chatter:
            await chatter.ready()
        assert sorted(code for code, _ in await asyncio.gather(*trying)) == [1008] * 4 + [1013] * 2

"""Which pages may call."""

from __future__ import annotations

import aiohttp
import pytest

from moshi_cluster.services.gateway.api.origin import is_allowed
from tests.services.gateway.api.websocket.chatter import HTTP, LOOPBACK, chatting
from tests.services.gateway.cluster import cluster

pytestmark = pytest.mark.usefixtures("nothing_swallowed")

ALLOWED = [
    ({"Host": "moshi.example:8998"}, "no page at all"),
    ({"Host": "moshi.example:8998", "Origin": "http://moshi.example:8998"}, "its own page"),
    ({"Host": "moshi.example", "Origin": "https://moshi.example"}, "behind a proxy that speaks TLS"),
    ({"Host": "Moshi.Example:443", "Origin": "https://moshi.example"}, "the port that goes without saying"),
    ({"Host": "[::1]:8998", "Origin": "http://[::1]:8998"}, "an address"),
    ({"Host": "[::1]", "Origin": "http://[::1]"}, "an address without a port"),
    ({"Host": "10.0.0.1:8998", "X-Forwarded-Host": "a, moshi.example", "Origin": "https://moshi.example"}, "a proxy"),
    ({"Host": "gpu7:8998", "Origin": "https://pages.example"}, "a site that the operator allows"),
]


@pytest.mark.parametrize(("headers", "why"), ALLOWED, ids=[why for _, why in ALLOWED])
def test_its_own_pages_and_allowed_ones_may_call(headers: dict[str, str], why: str) -> None:
    assert is_allowed(headers, {"https://pages.example"})


REFUSED = [
    "http://evil.example",
    "https://moshi.example.evil.example",
    "http://moshi.example:8999",
    "http://moshi.example@evil.example",
    "https://moshi.example",
    "http://notmoshi.example:8998",
    "null",
    "",
    "moshi.example:8998",
]


@pytest.mark.parametrize("origin", REFUSED)
def test_pages_of_other_sites_may_not(origin: str) -> None:
    headers = {"Host": "moshi.example:8998", "Origin": origin}
    assert not is_allowed(headers, {"https://pages.example"})
    assert is_allowed(headers, {"*"})


async def test_a_page_of_another_site_gets_no_call() -> None:
    async with cluster(allowed_origins=("https://pages.example",), **HTTP) as all_of_it:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            async with chatting(all_of_it, LOOPBACK, headers={"Origin": "https://evil.example"}):
                pass
        assert refused.value.status == 403
        assert all_of_it.sample("moshi_gateway_http_refused_total", reason="origin") == 1
        async with chatting(all_of_it, LOOPBACK, headers={"Origin": "https://pages.example"}) as chatter:
            await chatter.ready()

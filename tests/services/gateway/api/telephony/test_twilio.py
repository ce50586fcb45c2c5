"""Twilio's signature: of the URL as it was written, with one of the account's tokens; who has none is turned away."""

from __future__ import annotations

from pathlib import Path

import aiohttp
import pytest

from moshi_cluster.services.gateway.api.telephony.twilio import is_signed
from moshi_cluster.services.gateway.api.telephony.wire import Request
from tests.services.gateway.api.telephony.simulators.media_streams import TwilioPhone
from tests.services.gateway.api.telephony.simulators.phone import Gateway, calling
from tests.services.gateway.api.websocket.chatter import HTTP
from tests.services.gateway.cluster import cluster

# Computed apart: echo -n URL | openssl dgst -sha1 -hmac 12345 -binary | base64
URL = "wss://moshi.example/telephony/twilio"
SIGNATURE = "1MioJ3AL9mSpP9sN6APyjWSHJuo="


def request(signature: str = SIGNATURE, **headers: str) -> Request:
    return Request(
        "10.0.0.1", "/telephony/twilio", {"Host": "moshi.example", "X-Twilio-Signature": signature, **headers}
    )


@pytest.mark.parametrize(
    "headers",
    [{}, {"Host": "moshi.example:443"}, {"Host": "10.0.0.2:8998", "X-Forwarded-Host": "other, moshi.example"}],
)
def test_the_name_may_have_come_through_a_proxy(headers: dict[str, str]) -> None:
    assert is_signed(request(**headers), ["other", "12345"])


@pytest.mark.parametrize("headers", [{"Host": "elsewhere.example"}, {"X-Twilio-Signature": ""}])
def test_another_name_or_none_at_all_is_not_signed(headers: dict[str, str]) -> None:
    assert not is_signed(request(**headers), ["12345"])


def test_another_token_or_signature_is_refused() -> None:
    assert not is_signed(request(), ["1234"])
    assert not is_signed(request("é"), ["12345"])
    assert not is_signed(Request("10.0.0.1", "/telephony/twilio?x", request().headers), ["12345"])


async def test_who_signs_needs_no_token_and_who_does_not_is_turned_away(tmp_path: Path) -> None:
    secrets, tokens = tmp_path / "twilio", tmp_path / "tokens"
    secrets.write_text("12345\n")
    tokens.write_text("caller\n")
    settings = {"twilio_token_file": str(secrets), "token_file": str(tokens), "telephony": ("twilio",)}
    async with cluster(**HTTP, **settings) as all_of_it:
        gateway = Gateway(f"127.0.0.1:{all_of_it.service.http_port}")
        phone = TwilioPhone()
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await phone.dial(gateway, {})
        assert refused.value.status == 401
        phone.headers = {"X-Twilio-Signature": SIGNATURE, "X-Forwarded-Host": "moshi.example"}
        async with calling(phone, gateway, loopback="true"):
            await phone.hang_up()
            await phone.until_over()
        assert phone.socket.close_code == 1000

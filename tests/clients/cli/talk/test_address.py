"""Where `talk` finds /api/chat, and that nothing secret is in the address."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web

from moshi_cluster.__main__ import main
from moshi_cluster.clients.cli.recording import DEMO_UTTERANCE
from moshi_cluster.clients.cli.talk.address import chat_address, shown
from moshi_cluster.clients.cli.talk.command import EXIT_CALL_FAILED
from moshi_cluster.clients.cli.talk.connection import CallOptions
from moshi_cluster.clients.telephony.access import Access
from moshi_cluster.clients.telephony.errors import BadInput
from moshi_cluster.v1 import common_pb2

SECRET = "s3cret-T0ken"
WITH_TOKEN = CallOptions(access=Access(token=SECRET))


def test_what_is_asked_for_is_in_the_address() -> None:
    address = chat_address("http://host:1/moshi/?x=y", CallOptions(seed=7, greedy=True, loopback=True))
    query = "x=y&stats=true&text_seed=7&audio_seed=7&text_temperature=0&audio_temperature=0&loopback=true"
    assert address.url == f"ws://host:1/moshi/api/chat?{query}"
    assert address.headers == {}
    teacher = CallOptions(persona=common_pb2.Persona(text_prompt="a teacher", voice="NATF2"))
    assert chat_address("http://host", teacher).url.endswith("?stats=true&text_prompt=a+teacher&voice_prompt=NATF2")


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("http://host", WITH_TOKEN),
        (f"http://host/?token={SECRET}", CallOptions()),
        (f"http://host/api/chat?worker_auth_id={SECRET}", CallOptions()),
        ("http://host/?token=another", WITH_TOKEN),
    ],
)
def test_a_token_is_a_header_wherever_it_was_given(url: str, options: CallOptions) -> None:
    address = chat_address(url, options)
    assert address.url == "ws://host/api/chat?stats=true"
    assert address.headers == {"authorization": f"Bearer {SECRET}"}
    assert SECRET not in repr((address, options))


@pytest.mark.parametrize(
    "url",
    [
        f"ftp://{SECRET}@x",
        f"http://[x/?token={SECRET}",
        f"http://x:99999/?token={SECRET}",
        f"http://{SECRET}@x/?token=a",
        f"http://{SECRET}@/",
        f"http://me:{SECRET}@:80/",
    ],
)
def test_what_is_wrong_with_an_address_is_said_without_what_may_be_secret(url: str) -> None:
    with pytest.raises(BadInput) as caught:
        chat_address(url, CallOptions())
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("target", ["host:50051", "[::1]:50051", "https://host:1/moshi/"])
def test_a_target_without_secrets_is_shown_as_it_is(target: str) -> None:
    assert shown(target) == target


@pytest.mark.parametrize("secret", [f"{SECRET}@host/?a=1", f"host/?token={SECRET}#x", f"host/#{SECRET}"])
def test_a_target_is_shown_without_name_and_query(secret: str) -> None:
    assert shown(f"https://{secret}") == "https://host/"


@pytest.mark.parametrize("how", ["option", "address"])
async def test_a_proxy_in_between_is_shown_the_token_in_a_header_and_nobody_else_is(
    how: str, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[web.BaseRequest] = []

    async def refuse(request: web.BaseRequest) -> web.Response:
        asked.append(request)
        return web.Response(status=502)

    runner = web.ServerRunner(web.Server(refuse))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    (address,) = runner.addresses
    target = f"http://127.0.0.1:{address[1]}/" + (f"?token={SECRET}" if how == "address" else "")
    command = ["talk", "--target", target, "--input", str(DEMO_UTTERANCE), "--seed", "7"]
    command += ["--token", SECRET] if how == "option" else []
    assert await asyncio.to_thread(main, command) == EXIT_CALL_FAILED
    await runner.cleanup()
    assert asked[0].headers["Authorization"] == f"Bearer {SECRET}"
    assert asked[0].query_string == "stats=true&text_seed=7&audio_seed=7"
    printed = capsys.readouterr()
    assert "/api/chat: status 502 instead of a WebSocket" in printed.err
    assert SECRET not in printed.err + printed.out + caplog.text

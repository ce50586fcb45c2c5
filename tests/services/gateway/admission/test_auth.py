"""Who has to show a token, and what happens to those who do not."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moshi_cluster.services.common.errors import OverQuota, Unauthenticated
from moshi_cluster.services.common.settings import SettingError
from moshi_cluster.services.gateway.admission.auth import TokenGate, Tokens, bearer
from moshi_cluster.v1 import gateway_pb2
from tests.services.gateway.api.websocket.chatter import HTTP, LOOPBACK, chatting
from tests.services.gateway.caller import start
from tests.services.gateway.cluster import Cluster, cluster
from tests.services.in_process import eventually, few_turns, status_of

pytestmark = pytest.mark.usefixtures("nothing_swallowed")


@pytest.fixture
def token_file(tmp_path: Path) -> str:
    path = tmp_path / "tokens"
    path.write_text("first-secret\n\n  second-secret \n")
    return str(path)


@given(st.lists(st.text(min_size=1), max_size=3), st.text())
def test_only_what_is_accepted_passes(accepted: list[str], shown: str) -> None:
    tokens = Tokens(accepted)
    if shown in accepted or not accepted:
        tokens.require(shown)
    else:
        with pytest.raises(Unauthenticated):
            tokens.require(shown)


@pytest.mark.parametrize(
    ("header", "token"),
    [
        ("Bearer abc", "abc"),
        ("bearer  abc ", "abc"),
        (b"BEARER abc", "abc"),
        ("Basic abc", None),
        ("abc", None),
        ("", None),
        (None, None),
        (b"\xff \xff", None),
    ],
)
def test_a_token_is_what_follows_bearer(header: str | bytes | None, token: str | None) -> None:
    assert bearer(header) == token


@pytest.mark.parametrize("content", [None, b"", b" \n\n", b"\xff\xfe"])
def test_a_file_without_tokens_is_an_error_at_start(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "tokens"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingError, match="MOSHI_GATEWAY_TOKEN_FILE: .*tokens"):
        Tokens.of_file(str(path), "MOSHI_GATEWAY_TOKEN_FILE")


def file_of(tmp_path: Path, content: bytes) -> str:
    path = tmp_path / "tokens"
    path.write_bytes(content)
    return str(path)


@pytest.mark.parametrize(
    "content",
    [
        b"secret-a\nsecret-b\n",
        b"# the switchboard, renewed in May\nsecret-a\n\n   # and the other one\n\tsecret-b \n",
        b"\xef\xbb\xbfsecret-a\r\nsecret-b",
    ],
)
def test_only_whole_lines_are_tokens(tmp_path: Path, content: bytes) -> None:
    tokens = Tokens.of_file(file_of(tmp_path, content), "MOSHI_GATEWAY_TOKEN_FILE")
    for accepted in "secret-a", "secret-b":
        tokens.require(accepted)
    for word in "#", "the", "switchboard,", "May", "\ufeffsecret-a", "secret-a\r":
        with pytest.raises(Unauthenticated):
            tokens.require(word)


@pytest.mark.parametrize("line", [b"secret-a for the switchboard", b"two secrets", "gehe\u00efm".encode(), b"a\x00b"])
def test_a_line_that_is_no_token_is_refused_with_its_number_and_without_its_words(tmp_path: Path, line: bytes) -> None:
    with pytest.raises(SettingError, match=r"MOSHI_GATEWAY_TOKEN_FILE: .*tokens, line 3: expected one token") as raised:
        Tokens.of_file(file_of(tmp_path, b"first\n# comment\n" + line + b"\n"), "MOSHI_GATEWAY_TOKEN_FILE")
    assert not any(word.decode() in str(raised.value) for word in line.split() if word != b"for")


# --- who tries tokens


class Attempts:
    """A gate with one token, and whoever shows others."""

    def __init__(self, refusal_delay_s: float, most_refusals: int = 2) -> None:
        self.wrong = 0
        self.gate = TokenGate(Tokens(["right"]), self._count, refusal_delay_s, most_refusals)

    def _count(self) -> None:
        self.wrong += 1

    async def show(self, token: str | None, client: str = "10.0.0.1") -> str:
        try:
            await self.gate.require(token, client)
        except (OverQuota, Unauthenticated) as error:
            return type(error).__name__
        return "in"


async def test_an_address_has_only_so_many_wrong_tokens_refused_at_a_time() -> None:
    attempts = Attempts(refusal_delay_s=0.2)
    shown = ["guess 1", "guess 2", "guess 3", "right"]
    tasks = [asyncio.create_task(attempts.show(token)) for token in shown]
    await few_turns()
    assert not any(task.done() for task in tasks), "refused late"
    assert await attempts.show("right", client="10.0.0.2") == "in"
    assert await attempts.show(None) == "Unauthenticated"
    outcomes = await asyncio.gather(*tasks)
    assert outcomes == ["Unauthenticated", "Unauthenticated", "OverQuota", "OverQuota"], "nor does it tell who is right"
    assert attempts.wrong == 2
    assert await attempts.show("right") == "in"


async def test_a_refusal_that_nobody_waits_for_makes_room() -> None:
    attempts = Attempts(refusal_delay_s=60.0)
    tasks = [asyncio.create_task(attempts.show("wrong")) for _ in range(2)]
    await few_turns()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert await attempts.show("right") == "in"


async def test_a_wrong_token_is_refused_after_a_while() -> None:
    attempts = Attempts(refusal_delay_s=0.01)
    assert [await attempts.show("wrong") for _ in range(3)] == ["Unauthenticated"] * 3
    assert await attempts.show("right") == "in"
    assert attempts.wrong == 3


async def calling(all_of_it: Cluster, *headers: str) -> tuple[grpc.StatusCode, str]:
    call = all_of_it.stub.Converse(metadata=[("authorization", header) for header in headers])
    await call.write(gateway_pb2.ConverseRequest(start=start(loopback=True)))
    await call.done_writing()
    return await status_of(call)


async def test_a_call_without_the_right_token_is_refused_and_counted(token_file: str) -> None:
    async with cluster(token_file=token_file) as all_of_it:
        assert await calling(all_of_it, "Bearer second-secret") == (grpc.StatusCode.OK, "")
        for headers in [], ["Bearer wrong"], ["first-secret"]:
            code, details = await calling(all_of_it, *headers)
            assert code is grpc.StatusCode.UNAUTHENTICATED
            assert "secret" not in details
        name = "moshi_gateway_sessions_total"
        await eventually(lambda: all_of_it.sample(name, outcome="UNAUTHENTICATED") == 3)
        assert all_of_it.sample("moshi_gateway_wrong_tokens_total") == 1, "the other two showed none"


@pytest.mark.parametrize("query", ["&token=first-secret", "&worker_auth_id=second-secret"])
async def test_browsers_show_it_in_the_address(token_file: str, query: str) -> None:
    async with cluster(token_file=token_file, **HTTP) as all_of_it, chatting(all_of_it, LOOPBACK + query) as chatter:
        await chatter.ready()


async def test_others_show_it_in_a_header(token_file: str) -> None:
    headers = {"Authorization": "Bearer first-secret"}
    async with (
        cluster(token_file=token_file, **HTTP) as all_of_it,
        chatting(all_of_it, LOOPBACK, headers=headers) as chatter,
    ):
        await chatter.ready()


@pytest.mark.parametrize("query", [LOOPBACK, LOOPBACK + "&token=wrong"])
async def test_a_browser_without_it_is_told_and_closed(token_file: str, query: str) -> None:
    async with cluster(token_file=token_file, **HTTP) as all_of_it, chatting(all_of_it, query) as chatter:
        code, error = await chatter.end()
        assert code == 1008
        assert "token" in error

"""Who has to show a token, and what happens to those who do not."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moshi_cluster.services.common.errors import OverQuota, Unauthenticated
from moshi_cluster.services.common.settings import SettingError
from moshi_cluster.services.gateway.admission.auth import TokenGate, Tokens, bearer
from moshi_cluster.services.gateway.admission.token_quotas import Grant
from moshi_cluster.v1 import gateway_pb2
from tests.services.gateway.api.websocket.chatter import HTTP, LOOPBACK, chatting
from tests.services.gateway.caller import Caller, start
from tests.services.gateway.cluster import Cluster, cluster
from tests.services.in_process import PATIENCE_S, eventually, few_turns, status_of

pytestmark = pytest.mark.usefixtures("nothing_swallowed")


@pytest.fixture
def token_file(tmp_path: Path) -> str:
    path = tmp_path / "tokens"
    path.write_text("first-secret\n\n  second-secret \n")
    return str(path)


@given(st.lists(st.text(min_size=1), max_size=3), st.text())
def test_only_what_is_accepted_passes(accepted: list[str], shown: str) -> None:
    tokens = Tokens(dict.fromkeys(accepted, Grant("somebody")))
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


def test_a_line_says_whose_the_token_is_and_what_they_may(tmp_path: Path) -> None:
    content = b"# comment\nplain\nlimited name=call-centre sessions=2 openings_per_s=0.5\npadded== sessions=7\n"
    tokens = Tokens.of_file(file_of(tmp_path, content), "MOSHI_GATEWAY_TOKEN_FILE")
    assert tokens.require("plain") == Grant("line-2")
    assert tokens.require("limited") == Grant("call-centre", 2, 0.5)
    assert tokens.require("padded==") == Grant("line-4", 7)


@pytest.mark.parametrize(
    "words",
    ["name=", "name=a/b", "sessions=-1", "sessions=two", "openings_per_s=0", "limit=3", "name=a name=b", "more"],
)
def test_what_a_line_says_of_its_token_is_checked(tmp_path: Path, words: str) -> None:
    with pytest.raises(SettingError, match=r"line 1: expected one token .* behind it at most name=NAME") as raised:
        Tokens.of_file(file_of(tmp_path, f"secret-a {words}".encode()), "MOSHI_GATEWAY_TOKEN_FILE")
    assert "secret-a" not in str(raised.value)


async def test_a_token_that_is_added_or_removed_counts_without_a_restart(token_file: str) -> None:
    async with cluster(token_file=token_file) as all_of_it:

        async def code(token: str) -> grpc.StatusCode:
            return (await calling(all_of_it, f"Bearer {token}"))[0]

        assert await code("first-secret") is grpc.StatusCode.OK
        file_of(Path(token_file).parent, b"third-secret\n")
        async with asyncio.timeout(PATIENCE_S):
            while await code("third-secret") is not grpc.StatusCode.OK:
                pass
        assert await code("first-secret") is grpc.StatusCode.UNAUTHENTICATED


async def test_a_token_holds_no_more_calls_than_it_may_and_the_audit_log_has_its_name(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "moshi_cluster.audit")
    path = file_of(tmp_path, b"secret-a name=one-line sessions=1\nsecret-b name=two-lines sessions=2\n")
    async with cluster(token_file=path) as all_of_it:
        held = Caller(all_of_it.stub, [("authorization", "Bearer secret-a")])
        session_id = (await held.start()).session_id
        code, details = await calling(all_of_it, "Bearer secret-a")
        assert (code, details) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "this token already holds all its calls")
        assert (await calling(all_of_it, "Bearer secret-b"))[0] is grpc.StatusCode.OK
        await held.hang_up()
        await all_of_it.until_free()
        await eventually(lambda: f"session={session_id}" in caplog.text)
        assert (await calling(all_of_it, "Bearer secret-a"))[0] is grpc.StatusCode.OK
    [line] = [record.getMessage() for record in caplog.records if session_id in record.getMessage()]
    assert re.fullmatch(
        rf"call over session={session_id} transport=grpc token=one-line length_s=[0-9.]+ outcome=ok", line
    )
    assert "secret" not in caplog.text and "127.0.0.1" not in caplog.text


async def test_the_audit_log_has_addresses_where_it_is_told_to(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "moshi_cluster.audit")
    async with cluster(audit_addresses=True) as all_of_it:
        assert (await calling(all_of_it))[0] is grpc.StatusCode.OK
        await eventually(lambda: "address=127.0.0.1" in caplog.text)


# --- who tries tokens


class Attempts:
    """A gate with one token, and whoever shows others."""

    def __init__(self, refusal_delay_s: float, most_refusals: int = 2) -> None:
        self.wrong = 0
        self.gate = TokenGate(lambda: Tokens({"right": Grant("somebody")}), self._count, refusal_delay_s, most_refusals)

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

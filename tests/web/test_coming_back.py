"""A connection that was lost: taken up again by itself, later by the caller, or over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.web.conftest import ServerThat
from tests.web.fake_server import Socket, answer
from tests.web.patience import wait_for, wait_until, wait_until_connected, wait_until_said
from tests.web.steps import connect

if TYPE_CHECKING:
    from playwright.sync_api import Page

# How far the graph has come: it moves with every second.
GRAPH = "document.querySelector('#latency-graph').toDataURL()"
# The page takes the network for back; what comes of it.
TRY_AT_ONCE = "dispatchEvent(new Event('online')) && document.documentElement.dataset.state"


class Network:
    """A server behind a network that can be cut: each of its connections breaks then."""

    def __init__(self, forgets: bool = False) -> None:
        """forgets: the server does not keep what was lost."""
        self.is_up = True
        self._forgets = forgets

    async def chat(self, socket: Socket) -> None:
        """One connection."""
        if self.is_up:
            resumed = {"resumed": not self._forgets} if "resume" in socket.query else {}
            await socket.send_metadata(server="moshi-cluster", **resumed)
            await socket.send(0)
            await socket.send_metadata(resume="key", resume_keep_s=3600)
            await socket.send(2, b" Hello.")
            while self.is_up:
                await answer(socket, limit=10)
        socket.abort()

    def cut(self, page: Page) -> None:
        """Until every attempt of the page has failed; it tries at once whenever the network seems to be back."""
        self.is_up = False
        page.locator("html[data-state=resuming]").wait_for()
        wait_until(page, lambda: page.evaluate(TRY_AT_ONCE) == "closed")


def test_a_lost_connection_is_resumed_with_what_the_server_gave(page: Page, server_that: ServerThat) -> None:
    async def lose_once(socket: Socket) -> None:
        resumed = socket.query.get("resume") == "key"
        await socket.send_metadata(server="moshi-cluster", resume="key", **({"resumed": True} if resumed else {}))
        await socket.send(0)
        await answer(socket, limit=None if resumed else 40)
        socket.abort()

    server = server_that(lose_once)
    connect(page, server)
    for notice in ("The connection was lost", "Connected again", "goes on where it was"):
        wait_until_said(page, notice)
    page.locator("#transcript .newest").wait_for()
    assert "resume" not in server.queries[0]
    assert server.queries[1]["text_seed"] == server.queries[0]["text_seed"]


def test_a_conversation_that_the_server_keeps_goes_on_when_the_caller_wants_it(
    page: Page, server_that: ServerThat
) -> None:
    network = Network()
    server = server_that(network.chat)
    connect(page, server)
    wait_for(page, "#transcript", "Hello.")
    network.cut(page)
    wait_for(page, "#notice", "The connection is lost")
    assert page.locator("#notice button").all_inner_texts() == ["Go on", "New conversation"]
    network.is_up = True
    page.click("#notice button >> text=Go on")
    wait_until_said(page, "goes on where it was")
    wait_until_connected(page)
    assert server.queries[-1]["resume"] == "key"
    wait_for(page, "#transcript", "Connected again")


def test_a_conversation_that_the_server_has_forgotten_is_said_to_be_gone(page: Page, server_that: ServerThat) -> None:
    network = Network(forgets=True)
    connect(page, server_that(network.chat))
    wait_for(page, "#transcript", "Hello.")
    network.cut(page)
    network.is_up = True
    page.click("#notice button >> text=Go on")
    wait_until_said(page, "did not keep the old conversation: a new one has begun")
    wait_for(page, "#transcript", "Connected again: a new conversation")


def test_the_offer_ends_with_the_time_for_which_the_server_keeps_a_conversation(
    page: Page, server_that: ServerThat
) -> None:
    page.clock.install()
    network = Network()
    server = server_that(network.chat)
    connect(page, server)
    wait_for(page, "#transcript", "Hello.")
    network.cut(page)
    page.clock.fast_forward(3_590_000)
    wait_for(page, "#notice button", "Go on")
    page.clock.fast_forward(20_000)
    wait_for(page, "#notice", "The old conversation is gone")
    assert page.locator("#notice button").all_inner_texts() == ["New conversation"]
    network.is_up = True
    page.click("#notice button")
    wait_until_connected(page)
    assert "resume" not in server.queries[-1]


def test_while_the_connection_is_lost_the_graph_stands_still(page: Page, server_that: ServerThat) -> None:
    network = Network()
    connect(page, server_that(network.chat))
    start = page.evaluate(GRAPH)
    wait_until(page, lambda: page.evaluate(GRAPH) != start)
    network.is_up = False
    page.locator("html[data-state=resuming]").wait_for()
    lost = page.evaluate(GRAPH)
    page.wait_for_timeout(2_500)
    assert page.evaluate(GRAPH) == lost
    network.is_up = True
    wait_until_connected(page)
    wait_until(page, lambda: page.evaluate(GRAPH) != lost)

"""What is shown of a conversation: each answer for itself, and a latency that is the sum of its parts."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.web.conftest import ServerThat
from tests.web.fake_server import Socket
from tests.web.patience import wait_for
from tests.web.steps import connect

if TYPE_CHECKING:
    from playwright.sync_api import Page

# All at one moment: the headline, and each line of the list with its rounding.
LATENCY = """() => ({
  total: Number(document.querySelector("#latency-now").textContent),
  hops: [...document.querySelectorAll("#hops .hop-value")].map((each) => parseFloat(each.textContent)),
})"""


def test_answers_stand_on_lines_of_their_own(page: Page, server_that: ServerThat) -> None:
    later = asyncio.Event()

    async def speak_twice(socket: Socket) -> None:
        await socket.send(0)
        for word in (b" Hello", b" there."):
            await socket.send(2, word)
        await later.wait()
        for word in (b" Another", b" answer."):
            await socket.send(2, word)
        async for _ in socket.messages():
            pass

    server = server_that(speak_twice)
    page.clock.install()
    connect(page, server)
    wait_for(page, "#transcript", "Hello there.")
    page.clock.fast_forward(2_000)
    server.call(later.set)
    wait_for(page, "#transcript", "Another answer.")
    assert page.locator("#transcript .answer").all_inner_texts() == ["Hello there.", "Another answer."]


def test_from_the_first_second_on_the_parts_of_the_latency_are_the_whole(page: Page, server_that: ServerThat) -> None:
    told = asyncio.Event()

    async def tell_later(socket: Socket) -> None:
        await socket.send_metadata(server="moshi-cluster")
        await socket.send(0)
        async for message in socket.messages():
            if message[:1] == b"\x01":
                await socket.send(1, message[1:])
            if told.is_set():
                await socket.send_metadata(latency_ms={"encode": 9.0, "lm": 22.0, "decode": 8.0})
                told.clear()

    server = server_that(tell_later)
    connect(page, server)
    wait_for(page, "#hops", "Server and network")
    assert_adds_up(page)
    server.call(told.set)
    wait_for(page, "#hops", "Model")
    assert_adds_up(page)
    assert page.locator("#hops", has_text="Server and network").count() == 0


def assert_adds_up(page: Page) -> None:
    shown = page.evaluate(LATENCY)
    assert abs(sum(shown["hops"]) - shown["total"]) <= 0.5 + 0.5 * len(shown["hops"]), shown

"""What is shown of a conversation: each answer for itself, and a latency that is the sum of its parts."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.web.conftest import ServerThat
from tests.web.fake_server import Socket, echo
from tests.web.patience import wait_for, wait_until
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


# A decoder that takes nothing while `jammed`: what comes then is dropped.
JAMMING = """const size = Object.getOwnPropertyDescriptor(AudioDecoder.prototype, "decodeQueueSize");
Object.defineProperty(AudioDecoder.prototype, "decodeQueueSize", {
  get() { return window.jammed ? 1000 : size.get.call(this); },
});"""


def test_voice_that_could_not_be_decoded_in_time_is_dropped_and_is_no_latency(
    page: Page, server_that: ServerThat
) -> None:
    def seconds(statistic: str) -> float:
        return float((page.locator(f"[data-statistic={statistic}]").text_content() or "").split()[0])

    page.add_init_script(JAMMING)
    connect(page, server_that(echo))
    wait_for(page, "#hops", "Model")
    page.evaluate("window.jammed = true")
    jammed_at_s = seconds("sent")
    wait_until(page, lambda: seconds("sent") > jammed_at_s + 3)
    page.evaluate("window.jammed = false")
    wait_until(page, lambda: page.evaluate(LATENCY)["total"] < 1_000)
    assert seconds("dropped") > 2

"""The page in a real Chromium: a conversation, and everything that can go wrong with one."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.web.conftest import INSECURE_HOST, ServerThat
from tests.web.fake_server import Behaviour, Socket, answer, echo
from tests.web.patience import wait_for, wait_until, wait_until_connected, wait_until_true
from tests.web.recordings import LONGEST_DELAY_S, echo_delays_s
from tests.web.steps import close_dialog, connect

if TYPE_CHECKING:
    from playwright.sync_api import Page

LOUD_BYTES = 90  # a message with 20 ms of speech
SILENT_BYTES = 70  # more than one with silence

# How many points of the picture have the colour of the caller's bars, and of Moshi's disc.
COUNT_COLOURS = """() => {
  const canvas = document.querySelector("#stage");
  const context = canvas.getContext("2d");
  const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
  const style = getComputedStyle(canvas);
  const near = (name) => {
    const wanted = [1, 3, 5].map((at) => parseInt(style.getPropertyValue(name).trim().slice(at, at + 2), 16));
    const isNear = (at) => wanted.every((value, channel) => Math.abs(data[at + channel] - value) < 24);
    let count = 0;
    for (let at = 0; at < data.length; at += 4) if (isNear(at)) count++;
    return count;
  };
  return { mine: near("--mine"), moshi: near("--moshi") };
}"""


def refuse_microphone(page: Page, error: str) -> None:
    page.add_init_script(
        f"navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('refused', '{error}'));"
    )


# --- a conversation


def test_a_conversation_shows_text_and_levels_and_can_be_downloaded(
    page: Page, server_that: ServerThat, tmp_path: Path
) -> None:
    server = server_that(echo)
    connect(page, server)
    for voice in ("mine", "moshi"):
        levels: set[int] = set()
        wait_until(page, lambda: varied(page, voice, levels))  # noqa: B023 (called before the loop goes on)
    wait_for(page, "#transcript", "word18")
    transcript = page.locator("#transcript").inner_text()
    assert re.search(r"word1\s+word2\s+word3\b", transcript), "behind a pause a word begins another answer"
    weights: list[str] = page.evaluate(
        "[...document.querySelectorAll('.newest')].map((each) => getComputedStyle(each).fontWeight)"
    )
    assert weights == ["700"], "one fragment is bold: the newest"
    wait_for(page, "#hops", "Playback buffer")
    wait_for(page, "#hops", "Model")
    page.click("#connect")
    with page.expect_download() as download:
        page.click("#recording-list a")
    file = tmp_path / download.value.suggested_filename
    download.value.save_as(file)
    delays_s = echo_delays_s(file)
    assert len(delays_s) >= 2, "the echo is in the other channel"
    assert 0.02 < min(delays_s) < LONGEST_DELAY_S
    assert page.locator("#recording-list audio").evaluate(PLAYS)


def varied(page: Page, voice: str, seen: set[int]) -> bool:
    """Whether the picture has shown the voice at clearly different levels."""
    seen.add(page.evaluate(COUNT_COLOURS)[voice])
    return max(seen) > 1.2 * min(seen) + 100


PLAYS = """async (audio) => {
  await audio.play();
  await new Promise((resolve) => (audio.ontimeupdate = () => audio.currentTime > 0 && resolve()));
  return audio.duration > 3 && audio.error === null;
}"""


def test_a_muted_microphone_sends_silence_and_the_conversation_goes_on(page: Page, server_that: ServerThat) -> None:
    sizes: list[int] = []

    async def listen(socket: Socket) -> None:
        await socket.send(0)
        async for message in socket.messages():
            if message[:1] == b"\x01":
                sizes.append(len(message))
                await socket.send(2, b".")

    connect(page, server_that(listen))
    wait_until(page, lambda: len(sizes) > 50 and max(sizes[-50:]) > LOUD_BYTES)
    page.keyboard.press("m")
    assert page.locator("#mute").get_attribute("aria-pressed") == "true"
    wait_until(page, lambda: max(sizes[-50:]) < SILENT_BYTES)
    page.keyboard.press("m")
    wait_until(page, lambda: max(sizes[-50:]) > LOUD_BYTES)


def test_another_microphone_is_taken_while_the_conversation_runs(page: Page, server_that: ServerThat) -> None:
    page.add_init_script(
        "window.asked = []; const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);"
        "navigator.mediaDevices.getUserMedia = (what) => (window.asked.push(what.audio), ask(what));"
    )
    connect(page, server_that(echo))
    page.keyboard.press("s")
    wait_until_true(page, "document.querySelectorAll('#choice-microphone option').length > 2")  # the fake devices
    options: list[str] = page.locator("#choice-microphone option").evaluate_all("all => all.map((each) => each.value)")
    page.select_option("#choice-microphone", options[1])
    page.uncheck("#choice-noiseSuppression")
    wait_until_true(page, "window.asked.length === 3")
    first, second, third = page.evaluate("window.asked")
    assert (first["echoCancellation"], first["noiseSuppression"], first["channelCount"]) == (True, True, 1)
    assert second["deviceId"] == {"exact": options[1]}
    assert third["noiseSuppression"] is False
    close_dialog(page)
    wait_until_connected(page)


def test_a_film_of_the_conversation_can_be_made(page: Page, server_that: ServerThat) -> None:
    page.goto(server_that(echo).url)
    page.keyboard.press("s")
    page.check("#choice-film")
    page.uncheck("#choice-record")
    close_dialog(page)
    page.keyboard.press("c")
    wait_for(page, "#transcript", "word4")
    page.keyboard.press("c")
    page.locator("#recording-list [data-kind=film] video").wait_for(state="visible")
    assert page.locator("#recording-list li").count() == 1, "no sound recording was asked for"
    wait_until_true(page, "document.querySelector('#recording-list video').videoWidth > 0")


# --- a server in trouble


async def full(socket: Socket) -> None:
    await socket.send(5, b"8 conversations run and 16 callers wait")
    await socket.close(1013)


async def refusing(socket: Socket) -> None:
    await socket.send(5, b"token: missing")
    await socket.close(1008)


@pytest.mark.parametrize(
    ("behaviour", "title", "reason"),
    [
        (full, "The server is full", "8 conversations run and 16 callers wait"),
        (refusing, "The server refused the conversation", "token: missing"),
    ],
)
def test_a_server_that_cannot_serve_says_why(
    page: Page, server_that: ServerThat, behaviour: Behaviour, title: str, reason: str
) -> None:
    page.goto(server_that(behaviour).url)
    page.click("#connect")
    wait_for(page, "#notice", title)
    wait_for(page, "#notice", reason)
    assert page.locator("#notice").get_attribute("role") == "alert"
    assert page.locator("#connect-label").inner_text() == "Connect"


def test_the_place_in_the_queue_is_shown_until_the_turn_comes(page: Page, server_that: ServerThat) -> None:
    turn, free = asyncio.Event(), asyncio.Event()

    async def queue(socket: Socket) -> None:
        await socket.send_metadata(server="moshi-cluster", queue={"position": 3, "waiting": 4})
        await turn.wait()
        await socket.send_metadata(queue={"position": 1, "waiting": 1})
        await free.wait()
        await echo(socket)

    server = server_that(queue)
    page.goto(server.url)
    page.click("#connect")
    wait_for(page, "#notice", "You are number 3 in the queue")
    server.call(turn.set)
    wait_for(page, "#notice", "You are next")
    server.call(free.set)
    wait_until_connected(page)
    page.locator("#notice").wait_for(state="hidden")


def test_a_server_that_falls_silent_is_noticed(page: Page, server_that: ServerThat) -> None:
    async def stall(socket: Socket) -> None:
        await socket.send(0)
        await answer(socket, limit=40)
        async for _ in socket.messages():
            pass

    connect(page, server_that(stall))
    wait_for(page, "#notice", "The server is silent")


def test_a_server_that_is_not_there_cannot_be_reached(page: Page, server_that: ServerThat) -> None:
    gone = "127.0.0.1:9"
    page.goto(server_that(echo, worker_hosts=[gone]).url + f"?worker_addr={gone}")
    page.click("#connect")
    wait_for(page, "#notice", "The server cannot be reached")


def test_garbage_from_the_server_does_no_harm(page: Page, server_that: ServerThat) -> None:
    async def babble(socket: Socket) -> None:
        for kind, payload in [
            (4, b"{"),
            (9, b"?"),
            (1, b"not Ogg"),
            (1, b"OggS" + bytes(40)),
            (2, b"\xff\xfe"),
            (7, b""),
        ]:
            await socket.send(kind, payload)
        await echo(socket)

    connect(page, server_that(babble))
    wait_for(page, "#transcript", "word3")


# --- a browser in trouble


@pytest.mark.parametrize(
    ("error", "title"),
    [
        ("NotAllowedError", "The microphone was refused"),
        ("NotFoundError", "No microphone found"),
        ("NotReadableError", "The microphone does not start"),
    ],
)
def test_a_microphone_that_cannot_be_had_is_explained(
    page: Page, server_that: ServerThat, error: str, title: str
) -> None:
    server = server_that(echo)
    refuse_microphone(page, error)
    page.goto(server.url)
    page.click("#connect")
    wait_for(page, "#notice", title)
    assert page.locator("#connect-label").inner_text() == "Connect"
    assert server.queries == [], "no place was taken for nothing"


def test_an_origin_that_is_not_secure_is_explained_before_anything_is_tried(
    page: Page, server_that: ServerThat
) -> None:
    page.goto(server_that(echo).url.replace("127.0.0.1", INSECURE_HOST))
    wait_for(page, "#notice", "This page needs https")
    page.click("#connect")
    wait_for(page, "#notice", "This page needs https")


def test_a_browser_without_the_codec_is_told_which_ones_have_it(page: Page, server_that: ServerThat) -> None:
    page.add_init_script("delete window.AudioEncoder;")
    page.goto(server_that(echo).url)
    page.click("#connect")
    wait_for(page, "#notice", "This browser is too old for the voice")


# --- dark


def test_the_theme_follows_the_system_unless_chosen(page: Page, server_that: ServerThat) -> None:
    page.emulate_media(color_scheme="dark")
    page.goto(server_that(echo).url)
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(ground)
    page.emulate_media(color_scheme="light")
    assert page.evaluate(ground) != dark
    page.keyboard.press("s")
    page.select_option("#choice-theme", "dark")
    assert page.evaluate(ground) == dark

"""Pictures of the page for the documentation: python -m tests.web.screenshots docs/images

With `--sizes` instead one of every window size of the tests, idle and talking, to look at. Needs what the browser tests
need. The server is a fake one that echoes the voice and says a text of its own.
"""

from __future__ import annotations

import random
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from playwright.sync_api import sync_playwright

from tests.web.conftest import FLAGS
from tests.web.fake_server import ECHOED_TOGETHER, Socket, serving
from tests.web.test_controls import SIZES

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

TALK_S = 65  # a full graph
PACKETS_PER_WORD = 16
PACKETS_PER_S = 50
ANSWERS = (
    "Hello, what's going on? Good to hear you. I was just thinking about the sea, the way it keeps talking even when"
    " nobody listens. Do you live near it?",
    "Ah, in the mountains. That must be quiet in winter, only snow and the odd crow.",
    "I like crows, they remember faces. What do you do up there when it gets dark at four?",
)
PAUSE = [""] * 8  # words left out between two answers


async def chat(socket: Socket) -> None:
    """An echo with figures like those of a small cluster."""
    draw = random.Random(7)
    await socket.send_metadata(
        server="moshi-cluster",
        instance_name="gateway-0",
        text_temperature=0.7,
        text_topk=25,
        audio_temperature=0.8,
        audio_topk=250,
    )
    await socket.send(0)
    words = [word for answer in ANSWERS for word in [*answer.split(), *PAUSE]]
    waiting: list[bytes] = []
    count = 0
    async for message in socket.messages():
        if message[:1] == b"\x06":
            await socket.send(6)
        if message[:1] != b"\x01":
            continue
        count += 1
        waiting.append(message[1:])
        if len(waiting) == ECHOED_TOGETHER:
            await socket.send(1, b"".join(waiting))
            waiting.clear()
        if count % PACKETS_PER_WORD == 0 and words and (word := words.pop(0)):
            await socket.send(2, f" {word}".encode())
        if count % PACKETS_PER_S == 0:
            await _send_figures(socket, draw, count // ECHOED_TOGETHER)


async def _send_figures(socket: Socket, draw: random.Random, frames: int) -> None:
    hops = {"edge_in": 0.3, "encode": draw.gauss(7, 0.7), "lm": draw.gauss(15, 1.5), "decode": draw.gauss(6, 0.6)}
    await socket.send_metadata(
        latency_ms={**hops, "edge_out": 0.3, "turnaround": sum(hops.values())},
        counters={"frames_in": frames, "frames_filled": 0, "frames_dropped": 0, "frames_late": 0},
    )


def picture_for_docs(folder: Path) -> None:
    """One conversation on a desk by day and by night, its settings; another on a phone that stands and lies."""
    with serving(chat) as server, chromium() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 800}, color_scheme="light")
        page.goto(server.url)
        page.click("#connect")
        page.wait_for_timeout(1000 * TALK_S)
        _take(page, folder / "web-desktop.png")
        page.emulate_media(color_scheme="dark")
        _take(page, folder / "web-dark.png")
        page.click("#connect")
        page.emulate_media(color_scheme="light")
        page.set_viewport_size({"width": 1280, "height": 1500})  # all of the dialog
        page.keyboard.press("s")
        page.focus("#text_temperature")
        page.keyboard.press("Home")
        page.focus("#choice-theme")
        page.wait_for_timeout(500)
        page.locator("#settings").screenshot(path=folder / "web-settings.png")
    with serving(chat) as server, chromium() as browser:
        page = browser.new_page(
            viewport={"width": 390, "height": 844}, device_scale_factor=1.5, has_touch=True, is_mobile=True
        )
        page.goto(server.url)
        page.tap("#connect")
        page.wait_for_timeout(12_000)
        _take(page, folder / "web-phone.png")
        page.set_viewport_size({"width": 844, "height": 390})
        _take(page, folder / "web-phone-lying.png")


def picture_every_size(folder: Path) -> None:
    """Before a conversation and in the middle of one."""
    with serving(chat) as server, chromium() as browser:
        page = browser.new_page()
        page.goto(server.url)
        _take_sizes(page, folder, "idle")
        page.click("#connect")
        page.wait_for_timeout(5_000)
        _take_sizes(page, folder, "talking")


@contextmanager
def chromium() -> Iterator[Browser]:
    """The browser of the tests."""
    with sync_playwright() as driver:
        yield driver.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)


def _take_sizes(page: Page, folder: Path, state: str) -> None:
    for width, height in SIZES:
        page.set_viewport_size({"width": width, "height": height})
        _take(page, folder / f"web-{width}x{height}-{state}.png")


def _take(page: Page, file: Path) -> None:
    """While both voices are heard."""
    page.wait_for_timeout(700)
    page.screenshot(path=file)
    print(f"{file}: {file.stat().st_size // 1000} kB")


if __name__ == "__main__":
    (picture_every_size if "--sizes" in sys.argv else picture_for_docs)(Path(sys.argv[-1]))

"""The three buttons that are always in view, in windows of every size, and everything else that a finger is to hit."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from tests.web.conftest import ServerThat
from tests.web.fake_server import Socket, echo
from tests.web.patience import wait_for, wait_until_connected
from tests.web.steps import close_dialog, connect

if TYPE_CHECKING:
    from playwright.sync_api import Page

DESKS = [(1366, 641), (1024, 640), (1280, 800), (1920, 1080)]
PHONES = [(320, 568), (390, 844), (844, 390), (667, 375), (568, 320)]
SIZES = [*DESKS, *PHONES]
FINGER_PX = 44

# Each button: its box, whether something lies on it anywhere, whether any of its text is cut.
CONTROLS = """() => [...document.querySelectorAll("#mute, #connect, #record")].map((button) => {
  const { left, top, right, bottom, width, height } = button.getBoundingClientRect();
  const shares = [0.2, 0.5, 0.8];
  const points = shares.flatMap((x) => shares.map((y) => [left + x * width, top + y * height]));
  const label = button.querySelector("span");
  const text = document.createRange();
  text.selectNodeContents(label);
  const words = text.getBoundingClientRect();
  return {
    id: button.id,
    inView: left >= 0 && top >= 0 && right <= innerWidth && bottom <= innerHeight,
    covered: points.some(([x, y]) => !button.contains(document.elementFromPoint(x, y))),
    cut: label.scrollWidth > label.clientWidth || button.scrollWidth > button.clientWidth
      || words.left < left || words.right > right || words.height > 1.7 * parseFloat(getComputedStyle(label).fontSize),
    big: width >= 44 && height >= 44,
  };
})"""
GOOD = [
    {"id": each, "inView": True, "covered": False, "cut": False, "big": True} for each in ("mute", "connect", "record")
]

# What is smaller than a finger; a box to tick is as large as the line that it stands in.
SMALL = """(finger_px) => [...document.querySelectorAll("button, summary, select, input, a, audio, .check")]
  .filter((each) => each.checkVisibility() && !(each.type === "checkbox" && each.closest("label")))
  .map((each) => [each.id || each.className || each.textContent.trim(), each.getBoundingClientRect()])
  .filter(([, { width, height }]) => width < finger_px || height < finger_px)
  .map(([name, { width, height }]) => `${name}: ${width} x ${height}`)"""

COLOUR = """(name) => {
  const painted = document.createElement("i");
  painted.style.color = `var(${name})`;
  document.body.append(painted);
  return getComputedStyle(painted).color;
}"""


def resize(page: Page, size: tuple[int, int]) -> None:
    page.set_viewport_size({"width": size[0], "height": size[1]})
    page.evaluate("new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)))")


def test_the_controls_are_in_view_in_every_window(page: Page, server_that: ServerThat) -> None:
    page.goto(server_that(echo).url)
    for size in SIZES:
        resize(page, size)
        assert page.evaluate(CONTROLS) == GOOD, f"idle at {size}"
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"nothing sticks out at {size}"
    page.click("#connect")
    wait_for(page, "#record-label", "Recording")
    page.click("#mute")
    wait_for(page, "#hops", "Model")
    for size in SIZES:
        resize(page, size)
        assert page.evaluate(CONTROLS) == GOOD, f"talking at {size}"
        page.evaluate("for (const each of document.querySelectorAll('.page, .column')) each.scrollTop = 1e6")
        assert page.evaluate(CONTROLS) == GOOD, f"scrolled down at {size}"
        box: Any = page.locator("#open-settings").bounding_box()
        assert (
            page.evaluate(
                "([x, y]) => document.elementFromPoint(x, y).closest('button')?.id", [box["x"] + 22, box["y"] + 22]
            )
            == "open-settings"
        ), f"the bar is whole at {size}"


def test_a_phone_that_lies_shows_both_voices_whole(page: Page, server_that: ServerThat) -> None:
    page.set_viewport_size({"width": 844, "height": 390})
    connect(page, server_that(echo))
    stage: Any = page.locator("#stage").bounding_box()
    controls: Any = page.locator(".controls").bounding_box()
    assert stage["height"] >= 110
    assert stage["y"] + stage["height"] <= controls["y"]


@pytest.mark.parametrize("size", SIZES)
def test_opened_details_are_whole(page: Page, server_that: ServerThat, size: tuple[int, int]) -> None:
    page.set_viewport_size({"width": size[0], "height": size[1]})
    connect(page, server_that(echo))
    wait_for(page, "#hops", "Model")
    for title in ("Statistics", "Server"):
        page.click(f"summary >> text={title}")
    last = page.locator("#server-info div").last
    last.scroll_into_view_if_needed()
    assert last.evaluate(
        """(row) => {
          const { left, top, width, height } = row.getBoundingClientRect();
          return row.contains(document.elementFromPoint(left + width / 2, top + height / 2))
            || row.contains(document.elementFromPoint(left + 4, top + height / 2));
        }"""
    ), "its last line can be read"
    assert page.locator(".figures").evaluate("(card) => card.scrollHeight <= card.clientHeight"), "nothing is cut off"
    assert page.evaluate(CONTROLS) == GOOD


@pytest.mark.parametrize("size", [(320, 568), (1280, 800)])
def test_everything_is_large_enough_for_a_finger(page: Page, server_that: ServerThat, size: tuple[int, int]) -> None:
    page.set_viewport_size({"width": size[0], "height": size[1]})
    connect(page, server_that(echo))
    wait_for(page, "#transcript", "word1")
    page.click("#connect")
    page.locator("#recording-list audio").wait_for(state="visible")
    page.focus(".skip")
    assert page.evaluate(SMALL, FINGER_PX) == []
    for opener in ("#open-settings", "#open-help"):
        page.click(opener)
        assert page.evaluate(SMALL, FINGER_PX) == [], opener
        close_dialog(page)


def test_recording_is_said_when_it_is_so_and_not_before(page: Page, server_that: ServerThat) -> None:
    turn = asyncio.Event()

    async def queue(socket: Socket) -> None:
        await socket.send_metadata(server="moshi-cluster", queue={"position": 1, "waiting": 1})
        await turn.wait()
        await echo(socket)

    def said() -> tuple[str | None, str, str | None]:
        button = page.locator("#record")
        return button.get_attribute("aria-label"), button.inner_text(), button.get_attribute("aria-pressed")

    server = server_that(queue)
    page.goto(server.url)
    page.click("#connect")
    wait_for(page, "#notice", "You are next")
    assert said() == ("Record both voices", "Record", "true")
    server.call(turn.set)
    wait_until_connected(page)
    wait_for(page, "#record-label", "Recording")
    assert said() == ("Recording both voices", "Recording", "true")
    page.click("#record")
    assert said() == ("Record both voices", "Record", "false")
    page.click("#record")
    assert said() == ("Recording both voices", "Recording", "true")
    page.click("#connect")
    assert said() == ("Record both voices", "Record", "true")


def test_not_connected_is_no_error(page: Page, server_that: ServerThat) -> None:
    page.goto(server_that(echo).url)
    lamp = "getComputedStyle(document.querySelector('#lamp'), '::before').backgroundColor"
    assert page.inner_text("#lamp") == "Not connected"
    assert page.evaluate(lamp) == page.evaluate(COLOUR, "--dim")
    assert page.evaluate(lamp) != page.evaluate(COLOUR, "--error")

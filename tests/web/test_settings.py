"""The model's parameters: what is shown is what is in use, what is sent is what was chosen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.web.conftest import ServerThat
from tests.web.fake_server import echo
from tests.web.patience import wait_until_connected
from tests.web.steps import close_dialog

if TYPE_CHECKING:
    from playwright.sync_api import Page

ALWAYS_SENT = {"text_seed", "audio_seed", "stats"}
OWN = "checkpoint's own"


def shown(page: Page, name: str) -> str:
    """What stands beside a slider."""
    return page.locator(f".slider:has(#{name}) output").text_content() or ""


def talk_once(page: Page) -> None:
    page.keyboard.press("c")
    wait_until_connected(page)
    page.keyboard.press("c")
    page.locator("html[data-state=closed]").wait_for()


def test_what_nobody_has_chosen_is_the_checkpoints_own_and_is_not_sent(page: Page, server_that: ServerThat) -> None:
    server = server_that(echo)  # says that its text temperature is 0.7
    page.goto(server.url)
    assert {shown(page, name) for name in ("text_temperature", "audio_temperature", "text_topk")} == {OWN}
    talk_once(page)
    assert server.queries[0].keys() == ALWAYS_SENT
    assert server.queries[0]["stats"] == "true"
    assert shown(page, "text_temperature") == f"0.7, {OWN}"
    assert shown(page, "audio_temperature") == OWN, "the server has not said"


def test_what_was_chosen_is_sent_also_greedy_and_what_would_be_so_anyway(page: Page, server_that: ServerThat) -> None:
    server = server_that(echo)
    page.goto(server.url)
    page.keyboard.press("s")
    page.focus("#text_temperature")
    page.keyboard.press("Home")
    page.focus("#audio_temperature")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    assert shown(page, "text_temperature") == "0 (greedy)"
    assert shown(page, "audio_temperature") == "0.8"
    assert page.locator("#text_temperature").get_attribute("aria-valuetext") == "0 (greedy)"
    close_dialog(page)
    talk_once(page)
    assert server.queries[0].keys() == ALWAYS_SENT | {"text_temperature", "audio_temperature"}
    assert (server.queries[0]["text_temperature"], server.queries[0]["audio_temperature"]) == ("0", "0.8")
    assert shown(page, "text_temperature") == "0 (greedy)", "the server's word about it is our own"


def test_a_touch_that_moves_nothing_chooses_the_value_that_is_shown(page: Page, server_that: ServerThat) -> None:
    server = server_that(echo)
    page.goto(server.url)
    page.keyboard.press("s")
    page.locator("#pad_mult").click()  # in its middle, where it stands
    assert shown(page, "pad_mult") == "0"
    page.click("label[for=text_topk]")
    assert shown(page, "text_topk") == OWN, "a label is no value"
    close_dialog(page)
    talk_once(page)
    assert server.queries[0].keys() == ALWAYS_SENT | {"pad_mult"}


def test_choices_are_remembered_locked_during_a_conversation_and_reset(page: Page, server_that: ServerThat) -> None:
    server = server_that(echo)
    page.goto(server.url + "?token=secret")
    page.keyboard.press("s")
    page.focus("#text_topk")
    page.keyboard.press("ArrowRight")
    page.fill("#text_seed", "12")
    close_dialog(page)
    page.keyboard.press("c")
    wait_until_connected(page)
    query = server.queries[0]
    assert (query["text_topk"], query["text_seed"], query["token"]) == ("26", "12", "secret")
    assert page.locator("#text_topk").is_disabled()
    page.reload()
    assert shown(page, "text_topk") == "26"
    page.keyboard.press("s")
    page.click("#reset-parameters")
    page.click("#settings button[value=done]")
    page.locator("dialog[open]").wait_for(state="detached")
    assert shown(page, "text_topk") == OWN
    talk_once(page)
    assert "text_topk" not in server.queries[-1]

"""What a person does on the page, step by step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.web.fake_server import FakeServer
from tests.web.patience import wait_until_connected

if TYPE_CHECKING:
    from playwright.sync_api import Page


def connect(page: Page, server: FakeServer) -> None:
    """Opens the page and talks."""
    page.goto(server.url)
    page.click("#connect")
    wait_until_connected(page)


def close_dialog(page: Page) -> None:
    """Closes the dialog that is open."""
    page.keyboard.press("Escape")
    page.locator("dialog[open]").wait_for(state="detached")

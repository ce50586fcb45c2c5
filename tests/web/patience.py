"""Waiting for a page: for what it shows, and for what it does not."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from tests.web.conftest import TIMEOUT_MS

if TYPE_CHECKING:
    from playwright.sync_api import Page

POLL_MS = 50


def wait_for(page: Page, selector: str, text: str) -> None:
    """Until the element shows the text."""
    page.locator(selector, has_text=text).first.wait_for(state="visible")


def wait_until_said(page: Page, text: str) -> None:
    """Until a notice has said it since the page was loaded, if only for a moment."""
    page.wait_for_function("(text) => window.notices.some((notice) => notice.includes(text))", arg=text)


def wait_until_connected(page: Page) -> None:
    page.locator("html[data-state=talking]").wait_for()


def wait_until(page: Page, condition: Callable[[], bool]) -> None:
    """Until something is so that the page does not show; fails when it takes too long for any machine."""
    for _ in range(TIMEOUT_MS // POLL_MS):
        if condition():
            return
        page.wait_for_timeout(POLL_MS)
    pytest.fail("it did not happen in time")

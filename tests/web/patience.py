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
    wait_until_true(page, "(text) => window.notices.some((notice) => notice.includes(text))", text)


def wait_until_connected(page: Page) -> None:
    page.locator("html[data-state=talking]").wait_for()


def wait_until_true(page: Page, expression: str, argument: object = None) -> None:
    """Until an expression of JavaScript, or a function of the argument, is true in the page.

    Playwright's wait_for_function evaluates an expression that is not true at once a second time with the page's own
    eval, which its Content-Security-Policy forbids; here the browser evaluates it every time.
    """
    wait_until(page, lambda: bool(page.evaluate(expression, argument)))


def wait_until(page: Page, condition: Callable[[], bool]) -> None:
    """Until something is so that the page does not show; fails when it takes too long for any machine."""
    for _ in range(TIMEOUT_MS // POLL_MS):
        if condition():
            return
        page.wait_for_timeout(POLL_MS)
    pytest.fail("it did not happen in time")

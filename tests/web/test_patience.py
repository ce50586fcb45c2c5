"""Waiting for what becomes true only later, under the page's own policy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.web.conftest import ServerThat
from tests.web.fake_server import echo
from tests.web.patience import wait_until_true

if TYPE_CHECKING:
    from playwright.sync_api import Page

LATER_MS = 500
BECOME_TRUE = "(after_ms) => { window.isTrue = false; setTimeout(() => { window.isTrue = true; }, after_ms); }"


@pytest.mark.parametrize("expression", ["window.isTrue", "(wanted) => window.isTrue === wanted"])
def test_an_expression_may_be_false_at_first(page: Page, server_that: ServerThat, expression: str) -> None:
    page.goto(server_that(echo).url)
    page.evaluate(BECOME_TRUE, LATER_MS)
    wait_until_true(page, expression, True)
    assert page.evaluate("window.isTrue")

"""A real Chromium with a microphone that plays a recorded utterance."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.web.fake_server import FakeServer, serving

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

UTTERANCE = Path(__file__).parents[2] / "clients" / "cli" / "demo_utterance.wav"
INSECURE_HOST = "plain.test"  # leads here, but is not localhost: the browser does not trust it
FLAGS = [
    "--no-sandbox",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    f"--use-file-for-fake-audio-capture={UTTERANCE}",
    "--autoplay-policy=no-user-gesture-required",
    f"--host-resolver-rules=MAP {INSECURE_HOST} 127.0.0.1",
]
TIMEOUT_MS = 1000 * int(os.environ.get("WEB_TEST_TIMEOUT_S", "60"))  # more on a machine busy with other things
# In the page: everything that the notice has said, however briefly.
REMEMBER_NOTICES = """addEventListener("DOMContentLoaded", () => {
  const notice = document.querySelector("#notice");
  window.notices = [];
  if (notice) new MutationObserver(() => notices.push(notice.textContent)).observe(notice, { childList: true });
});"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's or any other Chromium on PATH, driven by playwright (the extra `web-test`)."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: pip install '.[web-test]'"
    )
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no chromium on PATH (Debian: apt-get install chromium)")
    with (
        playwright.sync_playwright() as driver,
        driver.chromium.launch(executable_path=path, args=FLAGS, timeout=TIMEOUT_MS) as running,
    ):
        yield running


ServerThat = Callable[..., FakeServer]
"""Starts a fake server: a Behaviour, and options of FakeServer."""


@pytest.fixture
def server_that() -> Iterator[ServerThat]:
    """Starts fake servers that behave as given."""
    with ExitStack() as servers:
        yield lambda behaviour, **options: servers.enter_context(serving(behaviour, **options))


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """An empty tab with a profile of its own; the test fails if the page raised anything in it."""
    context = browser.new_context(viewport={"width": 1280, "height": 800}, accept_downloads=True)
    context.set_default_timeout(TIMEOUT_MS)
    context.add_init_script(REMEMBER_NOTICES)
    tab = context.new_page()
    errors: list[str] = []
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.on(
        "console", lambda message: errors.append(message.text) if "Content Security Policy" in message.text else None
    )
    yield tab
    context.close()
    assert errors == []

"""The page as the gateway serves it, talking with the real services."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from moshi_cluster.cluster.default_checkpoint import DEFAULT_CHECKPOINT
from moshi_cluster.cluster.local_cluster import Layout, LocalCluster
from tests.web.patience import wait_for, wait_until, wait_until_connected
from tests.web.recordings import LONGEST_DELAY_S, echo_delays_s

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def cluster(browser: Browser) -> Iterator[LocalCluster]:
    """One slot, one place in the queue. After `browser`: nothing is started where that is missing."""
    with LocalCluster(Layout(str(DEFAULT_CHECKPOINT), slots=1), {"MOSHI_GATEWAY_QUEUE_CLIENTS": "1"}) as running:
        yield running


def played_s(page: Page) -> float:
    """As the page says; 0 before the first sound."""
    said = page.locator("[data-statistic=played]").text_content() or ""
    return float(said.split()[0]) if said[:1].isdigit() else 0.0


def test_moshi_answers(page: Page, cluster: LocalCluster) -> None:
    page.goto(cluster.http_url())
    page.click("#connect")
    wait_until_connected(page)
    page.locator("#transcript .newest").wait_for()
    for hop in ("Network", "Edge in", "Encode", "Model", "Decode", "Edge out", "Playback buffer"):
        wait_for(page, "#hops", hop)
    wait_until(page, lambda: played_s(page) > 2)
    page.click("summary >> text=Server")
    wait_for(page, "#server-info", "moshi-cluster")
    told = page.locator("#server-info div", has=page.get_by_text("text temperature", exact=True)).locator("dd")
    own = page.locator(".slider:has(#text_temperature) output").text_content() or ""
    assert own.endswith("checkpoint's own")
    assert float(own.split(",")[0].split()[0]) == float(told.inner_text())
    page.click("#connect")
    page.locator("#recording-list audio").wait_for(state="visible")


def test_what_is_said_to_a_loopback_comes_back_a_little_later(
    page: Page, cluster: LocalCluster, tmp_path: Path
) -> None:
    page.goto(cluster.http_url() + "?loopback=true")
    page.click("#connect")
    wait_until_connected(page)
    wait_until(page, lambda: played_s(page) > 5)
    page.click("#connect")
    with page.expect_download() as download:
        page.click("#recording-list a")
    file = tmp_path / "recording.wav"
    download.value.save_as(file)
    delays_s = echo_delays_s(file)
    assert len(delays_s) >= 2
    assert 0.08 < min(delays_s) < LONGEST_DELAY_S, "no sooner than the frame of 80 ms is complete"


BLOCKED = """new Promise((resolve) => {
  addEventListener("securitypolicyviolation", (event) => resolve(event.blockedURI));
  new WebSocket("ws://127.0.0.1:9/api/chat");
})"""


def test_no_address_leads_the_voice_to_a_server_that_the_operator_does_not_allow(
    browser: Browser, cluster: LocalCluster
) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(cluster.http_url() + "?worker_addr=127.0.0.1:9")
        page.click("#connect")
        wait_for(page, "#notice", "This page does not call another server")
        assert "127.0.0.1:9" in page.evaluate(BLOCKED), "its policy would stop it, too"


def test_the_second_waits_and_the_third_is_told_that_there_is_no_room(browser: Browser, cluster: LocalCluster) -> None:
    with browser.new_context() as context:
        first, second, third = (context.new_page() for _ in range(3))
        for page in (first, second, third):
            page.goto(cluster.http_url())
        first.click("#connect")
        wait_until_connected(first)
        second.click("#connect")
        wait_for(second, "#notice", "You are next")
        third.click("#connect")
        wait_for(third, "#notice", "The server is full")
        first.click("#connect")
        wait_until_connected(second)
        second.click("#connect")

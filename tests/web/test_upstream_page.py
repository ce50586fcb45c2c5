"""Upstream's own web page, served by this gateway in place of ours: it is heard, and complains of nothing of ours.

Runs where it has been built: `npm ci && npx vite build` in the folder `client` of kyutai-labs/moshi makes `dist`, and
the variable MOSHI_UPSTREAM_PAGE names that.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from moshi_cluster.cluster.default_checkpoint import DEFAULT_CHECKPOINT
from moshi_cluster.cluster.local_cluster import Layout, LocalCluster

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PAGE_FOLDER = os.environ.get("MOSHI_UPSTREAM_PAGE", "")
CALL_S = 20
ITS_OWN = "/undefined"  # the address of a picture that it has not

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(not PAGE_FOLDER, reason="MOSHI_UPSTREAM_PAGE names no build of upstream's page"),
]


@pytest.fixture(scope="module")
def cluster(browser: Browser) -> Iterator[LocalCluster]:
    with LocalCluster(Layout(str(DEFAULT_CHECKPOINT)), {"MOSHI_GATEWAY_WEB_DIR": PAGE_FOLDER}) as running:
        yield running


def statistic_s(page: Page, name: str) -> float:
    """A time that the page shows, such as 0:19.52."""
    found = re.search(rf"{name}:\s*(\d+):([\d.]+)", page.inner_text("body"))
    assert found is not None, "the page shows no such time"
    return 60 * float(found[1]) + float(found[2])


def test_upstreams_page_is_heard_and_has_nothing_to_complain_of(page: Page, cluster: LocalCluster) -> None:
    errors: list[str] = []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    not_there: list[str] = []
    page.on("response", lambda response: not_there.append(response.url) if response.status >= 400 else None)
    page.goto(cluster.http_url() + "?worker_addr=same")
    page.click("button >> text=Connect")
    page.locator("button >> text=Disconnect").wait_for()
    page.wait_for_timeout(1000 * CALL_S)
    assert statistic_s(page, "Audio played") > 0.9 * CALL_S
    page.get_by_text("Instance name: moshi-cluster").wait_for()
    assert [url for url in not_there if not url.endswith(ITS_OWN)] == []
    assert len(errors) == len(not_there), errors

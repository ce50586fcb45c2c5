"""How late the answer is, from the microphone to the loudspeaker: python -m tests.web.measure [seconds]

Starts a cluster on this machine and a Chromium, talks once with the model and once with the gateway's loopback. Of the
first it prints what the page says every second, of the second also what its recording proves. Wants an idle machine.
"""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from playwright.sync_api import sync_playwright

from moshi_cluster.cluster.default_checkpoint import DEFAULT_CHECKPOINT
from moshi_cluster.cluster.local_cluster import Layout, LocalCluster
from tests.web.conftest import FLAGS, TIMEOUT_MS
from tests.web.recordings import echo_delays_s

if TYPE_CHECKING:
    from playwright.sync_api import Page


def main(length_s: int) -> None:
    """Both conversations, one after the other."""
    with LocalCluster(Layout(str(DEFAULT_CHECKPOINT), slots=2)) as cluster, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        page = browser.new_page()
        page.set_default_timeout(TIMEOUT_MS)
        print("with the model, as the page says: ", talk(page, cluster.http_url(), length_s))
        print("with a loopback, as the page says:", talk(page, cluster.http_url() + "?loopback=true", length_s))
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "recording.wav"
            with page.expect_download() as download:
                page.click("#recording-list a")
            download.value.save_as(file)
            delays_ms = [1000 * delay for delay in echo_delays_s(file)]
        print(f"with a loopback, as recorded:      {summary(delays_ms)}")
        browser.close()


def talk(page: Page, url: str, length_s: int) -> str:
    """A conversation; the latency shown at each of its seconds but the first two, and the hops at its end."""
    page.goto(url)
    page.click("#connect")
    page.locator("html[data-state=talking]").wait_for()
    page.wait_for_timeout(2000)
    shown_ms = []
    for _ in range(length_s):
        page.wait_for_timeout(1000)
        shown_ms.append(float(page.inner_text("#latency-now")))
    hops: list[str] = page.locator("#hops li").all_inner_texts()
    page.click("#connect")
    return f"{summary(shown_ms)}; at the end {', '.join(' '.join(hop.split()) for hop in hops)}"


def summary(latencies_ms: list[float]) -> str:
    """Median and largest."""
    return f"median {statistics.median(latencies_ms):.0f} ms, largest {max(latencies_ms):.0f} ms"


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10)

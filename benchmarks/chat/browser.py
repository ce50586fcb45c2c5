"""Browser client: the web page in a Chromium, with a recording for a microphone. Needs playwright and a chromium."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

from playwright.async_api import Error, async_playwright

from benchmarks.chat.client_trace import ClientTrace
from moshi_cluster.audio.frame import FRAME_S

_POLL_S = 0.5


class BrowserClient:
    """One conversation of the page."""

    def __init__(self, name: str, url: str, recording: Path, frames: int, patience_s: float) -> None:
        self.trace = ClientTrace(name, said_frames=frames)
        self._url = url
        self._recording = recording
        self._patience_s = patience_s

    async def run(self, start_s: float) -> ClientTrace:
        """start_s: the run's beginning on the loop's clock. Heard is what the page says that it played."""
        clock = asyncio.get_running_loop().time
        flags = [
            "--no-sandbox",
            "--use-fake-device-for-media-stream",
            "--use-fake-ui-for-media-stream",
            f"--use-file-for-fake-audio-capture={self._recording}",
            "--autoplay-policy=no-user-gesture-required",
        ]
        try:
            async with async_playwright() as driver:
                browser = await driver.chromium.launch(executable_path=shutil.which("chromium"), args=flags)
                page = await browser.new_page()
                page.set_default_timeout(1000 * self._patience_s)
                await page.goto(self._url)
                self.trace.asked_s = clock() - start_s
                await page.click("#connect")
                await page.locator("html[data-state=talking]").wait_for()
                self.trace.ready_s = clock() - start_s
                deadline_s = clock() + self.trace.said_frames * FRAME_S + self._patience_s
                while self.trace.heard_frames < self.trace.said_frames and clock() < deadline_s:
                    await asyncio.sleep(_POLL_S)
                    played = await page.locator("[data-statistic=played]").text_content() or ""
                    self.trace.heard_frames = float(played.split()[0]) / FRAME_S if played[:1].isdigit() else 0.0
                self.trace.text = await page.inner_text("#transcript")
                self.trace.turnarounds_ms = [float(await page.inner_text("#latency-now"))]
                await page.click("#connect")
                await browser.close()
        except Error as error:
            self.trace.failure = str(error).splitlines()[0]
        return self.trace

"""The command in a terminal of its own: Ctrl-C hangs up, and whatever happens the terminal is as it was."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pty
import signal
import socket
import sys
import termios
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

pytest.importorskip("rich", reason="the extra `talk` is not installed")

from moshi_cluster.clients.cli.recording import DEMO_UTTERANCE, read_wav
from tests.services.gateway.api.websocket.chatter import HTTP
from tests.services.gateway.cluster import cluster
from tests.services.in_process import eventually

ROOT = Path(__file__).parents[4]
SCREEN, NO_SCREEN, CURSOR = b"\x1b[?1049h", b"\x1b[?1049l", b"\x1b[?25h"
CTRL_C = b"\x03"
CONVERSING = b"mouth to ear"  # shown once both voices are there
LONG = ("--input", str(DEMO_UTTERANCE), "--tail-s", "100")
# In a session of its own the program takes the terminal as its own, so that keys reach it as signals.
IN_TERMINAL = """
import fcntl, signal, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
signal.signal(signal.SIGINT, signal.default_int_handler)
from moshi_cluster.__main__ import main
sys.exit(main())
"""


class Terminal:
    """A program, with a terminal that the test sees and types in."""

    def __init__(self, process: asyncio.subprocess.Process, side: int) -> None:
        self.process = process
        self._side = side
        self._seen = b""

    @property
    def seen(self) -> bytes:
        """Everything that was written so far."""
        with contextlib.suppress(OSError):  # nothing new, or the program has closed its side
            while new := os.read(self._side, 1 << 16):  # a piece of it at a time
                self._seen += new
        return self._seen

    async def shows(self, text: bytes) -> None:
        await eventually(lambda: text in self.seen or self.process.returncode is not None)
        assert text in self.seen, self.seen

    async def ended(self) -> int | None:
        await eventually(lambda: bool(self.seen) and self.process.returncode is not None)
        return self.process.returncode

    def type(self, keys: bytes) -> None:
        os.write(self._side, keys)

    @property
    def is_restored(self) -> bool:
        return self.seen.rfind(NO_SCREEN) > self.seen.rfind(SCREEN) >= 0 and CURSOR in self.seen


@asynccontextmanager
async def talk(target: str, *options: str) -> AsyncIterator[Terminal]:
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (30, 100))
    os.set_blocking(ours, False)
    command = (sys.executable, "-c", IN_TERMINAL, "talk", "--target", target, *LONG, *options)
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=ROOT,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        env={**os.environ, "TERM": "xterm"},
    )
    os.close(theirs)
    try:
        yield Terminal(process, ours)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        os.close(ours)


@pytest.mark.parametrize("kind", ["grpc", "chat"])
async def test_ctrl_c_hangs_up_and_leaves_whole_files(kind: str, tmp_path: Path) -> None:
    output = tmp_path / "reply.wav"
    async with cluster(**HTTP) as running:
        target = running.target if kind == "grpc" else running.url
        async with talk(target, "--output", str(output)) as terminal:
            await terminal.shows(CONVERSING)
            terminal.type(CTRL_C)
            assert await terminal.ended() == 0
            assert terminal.is_restored
            assert b"written: " in terminal.seen
        await running.until_free()
    assert len(read_wav(output).samples) > 1800  # a frame, of which a resampler may hold a little back


async def test_a_signal_restores_the_terminal() -> None:
    async with cluster(**HTTP) as running, talk(running.url) as terminal:
        await terminal.shows(CONVERSING)
        terminal.process.send_signal(signal.SIGTERM)
        assert await terminal.ended() == 130
        assert terminal.is_restored
        await running.until_free()


async def test_ctrl_c_ends_the_wait_for_a_gateway_that_says_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        async with talk(f"127.0.0.1:{silent.getsockname()[1]}") as terminal:
            await terminal.shows(b"connecting")
            terminal.type(CTRL_C)
            assert await terminal.ended() == 130
            assert terminal.is_restored


async def test_a_gateway_that_fails_is_said_on_a_restored_terminal() -> None:
    async with cluster(max_messages_per_s=10, **HTTP) as running, talk(running.url) as terminal:
        assert await terminal.ended() == 1
        assert terminal.is_restored
        assert b"error: more messages than one call may send" in terminal.seen[terminal.seen.rfind(NO_SCREEN) :]

"""Work that goes on beside the event loop, and that nobody waits for."""

from __future__ import annotations

import asyncio
import threading

import pytest

from moshi_cluster.services.common.daemon_thread import in_daemon_thread
from tests.services.in_process import PATIENCE_S, few_turns


async def test_it_returns_and_raises_what_the_work_does() -> None:
    def broken() -> None:
        raise MemoryError("too large")

    assert await in_daemon_thread(lambda: 7) == 7
    with pytest.raises(MemoryError, match="too large"):
        await in_daemon_thread(broken)


async def test_cancelled_it_waits_for_nothing_and_the_late_end_troubles_nobody() -> None:
    problems: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: problems.append(context))
    begun, go_on = threading.Event(), threading.Event()

    def work() -> threading.Thread:
        begun.set()
        go_on.wait(PATIENCE_S)
        return threading.current_thread()

    waiting = asyncio.create_task(in_daemon_thread(work))
    await asyncio.to_thread(begun.wait, PATIENCE_S)
    (thread,) = (each for each in threading.enumerate() if each.name == "load")
    assert thread.daemon
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    go_on.set()
    await asyncio.to_thread(thread.join, PATIENCE_S)
    await few_turns()
    assert problems == []


def test_work_that_outlives_the_loop_ends_quietly() -> None:
    go_on, ended = threading.Event(), threading.Event()
    uncaught: list[object] = []

    def work() -> None:
        go_on.wait(PATIENCE_S)
        ended.set()

    async def give_up() -> None:
        waiting = asyncio.create_task(in_daemon_thread(work))
        await few_turns()
        waiting.cancel()

    before, threading.excepthook = threading.excepthook, uncaught.append
    try:
        asyncio.run(give_up())
        threads = [each for each in threading.enumerate() if each.name == "load"]
        go_on.set()
        for thread in threads:
            thread.join(PATIENCE_S)
    finally:
        threading.excepthook = before
    assert ended.is_set() and uncaught == []

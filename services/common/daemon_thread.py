"""Work in a thread that nobody has to wait for: a load or a download, which a stop leaves where it is."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


async def in_daemon_thread(work: Callable[[], T]) -> T:
    """Runs `work` beside the event loop; returns or raises what it does.

    Cancelled, it returns at once and the work goes on: neither the loop nor the interpreter waits for its end, as both
    do for the threads of an executor.
    """
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[T] = loop.create_future()

    def run() -> None:
        settle: Callable[[Any], None]
        value: Any
        try:
            settle, value = outcome.set_result, work()
        except BaseException as error:
            settle, value = outcome.set_exception, error
        with contextlib.suppress(RuntimeError):  # the loop is over
            loop.call_soon_threadsafe(_settle, outcome, settle, value)

    threading.Thread(target=run, name="load", daemon=True).start()
    return await outcome


def _settle(outcome: asyncio.Future[Any], settle: Callable[[Any], None], value: Any) -> None:
    if not outcome.done():
        settle(value)

"""A plugin of pytest: a coroutine test that leaves tasks running fails, for every task has an owner that awaits it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

_LEAK_GRACE_S = 5.0  # of a machine that stands still; who leaks nothing waits for nothing


@pytest.fixture(autouse=True)
def no_leaked_tasks(request: pytest.FixtureRequest) -> None:
    """Fails a coroutine test that leaves tasks running: every task has an owner that awaits its end."""
    if pytest_asyncio.is_async_test(request.node):
        request.getfixturevalue("leaked_tasks_watch")


@pytest_asyncio.fixture
async def leaked_tasks_watch() -> AsyncIterator[None]:
    """Set up before and torn down after every other fixture of the test's own loop."""
    before = asyncio.all_tasks()
    yield
    leaked = {task for task in asyncio.all_tasks() - before - {asyncio.current_task()} if not _is_grpcs_own(task)}
    if leaked:
        _, leaked = await asyncio.wait(leaked, timeout=_LEAK_GRACE_S)
    if leaked:
        pytest.fail("the test left tasks running: " + "; ".join(sorted(map(repr, leaked))))


def _is_grpcs_own(task: asyncio.Task[object] | None) -> bool:
    """A call whose write crossed its refusal keeps waiting for a status inside grpc (grpc/grpc issue 36066)."""
    return task is not None and "_handle_status_once_received" in repr(task)

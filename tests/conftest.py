"""What every test shares: reproducible properties, one torch thread, no leaked tasks, any uptime, the golden set."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import hypothesis
import pytest
import pytest_asyncio

from tests import golden_set
from tests.uptime.sitecustomize import begin_at

_LEAK_GRACE_S = 1.0

# The wall clock of a shared machine decides nothing. `ci` draws the same examples every time; HYPOTHESIS_PROFILE=dev
# looks for new ones.
_SHARED = hypothesis.settings(deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.register_profile("ci", _SHARED, derandomize=True)
hypothesis.settings.register_profile("dev", _SHARED)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

if importlib.util.find_spec("torch"):
    import torch

    torch.set_num_threads(1)
    if not torch.cuda.is_available():
        os.environ.setdefault("TRITON_INTERPRET", "1")  # read when Triton is first imported, whoever does it


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--uptime",
        type=float,
        metavar="SECONDS",
        help="let the machine seem to have booted so long ago (default: as it is)",
    )


def pytest_configure(config: pytest.Config) -> None:
    if (uptime_s := config.getoption("--uptime")) is not None:
        begin_at(uptime_s)


@pytest.fixture(params=[0.0, 1e9], ids=["just booted", "up for thirty years"])
def any_uptime(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the monotonic clock stands means nothing: a test of something that reads it passes at both ends."""
    unshifted = time.monotonic
    shift_s = request.param - unshifted()
    monkeypatch.setattr(time, "monotonic", lambda: unshifted() + shift_s)


@pytest.fixture(scope="session")
def golden_dir() -> Path:
    """The golden set; the variable GOLDEN_DIR names another one of the same layout."""
    folder = golden_set.golden_dir()
    if not (folder / "meta.json").is_file():
        pytest.fail(f"no golden set in {folder}: meta.json is missing (set by GOLDEN_DIR?)")
    return folder


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

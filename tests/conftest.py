"""What every test shares: reproducible properties, one torch thread, no leaked tasks, any uptime, the golden set."""

from __future__ import annotations

import importlib.util
import os
import signal
import time
from pathlib import Path

import hypothesis
import pytest

from tests import golden_set
from tests.uptime.sitecustomize import begin_at

# The wall clock of a shared machine decides nothing. `ci` draws the same examples every time; HYPOTHESIS_PROFILE=dev
# looks for new ones.
_SHARED = hypothesis.settings(deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.register_profile("ci", _SHARED, derandomize=True)
hypothesis.settings.register_profile("dev", _SHARED)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

# A machine with a card may have pytest without plugins: tests with coroutines do not run there.
pytest_plugins = ["tests.leaked_tasks"] if importlib.util.find_spec("pytest_asyncio") else []

if importlib.util.find_spec("torch"):
    import torch

    torch.set_num_threads(1)
    if not torch.cuda.is_available():
        os.environ.setdefault("TRITON_INTERPRET", "1")  # read when Triton is first imported, whoever does it

    @pytest.fixture(autouse=True)
    def same_random_numbers() -> None:
        """Tests that draw from torch draw the same every time, whatever ran before them."""
        torch.manual_seed(0)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--uptime",
        type=float,
        metavar="SECONDS",
        help="let the machine seem to have booted so long ago (default: as it is)",
    )


def pytest_configure(config: pytest.Config) -> None:
    # Below nohup and in the background of a shell these are ignored, and would stay so in what the tests start.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
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

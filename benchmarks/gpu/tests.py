"""The tests for a device, `pytest -m gpu`: kernels at Moshi's shapes, small models recorded and eager."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

from benchmarks.gpu.scale import Scale

_ROOT = Path(__file__).parents[2]
_PLACES = ("tests/models/kernels", "tests/models/moshi_lm/static/test_on_gpu.py", "tests/models/mimi/test_on_gpu.py")
_DRY_PLACES = ("tests/models/test_device_step.py",)
_WANTED = ("-m", "gpu", "-k", "not seven_b")  # what needs Moshi's weights the part "equalities" has
# Plugins that the project's configuration names need not be there.
_OPTIONS = ("-q", "-p", "no:cacheprovider", "-o", "addopts=--import-mode=importlib", "--color=no")


def run(scale: Scale) -> None:
    """How many passed, and whether none failed."""
    missing = [name for name in ("pytest", "hypothesis") if not importlib.util.find_spec(name)]
    if missing:
        scale.note(f"left out: {' and '.join(missing)} are missing here")
        return
    # Most of the time goes into compiling kernels, one after the other in each process.
    processes = ("-n", "8") if importlib.util.find_spec("xdist") and not scale.dry else ()
    chosen = _DRY_PLACES if scale.dry else (*_PLACES, *_WANTED, *processes)
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *_OPTIONS, *chosen], cwd=_ROOT, capture_output=True, text=True, check=False
    )
    for line in re.findall(r"^(?:FAILED|ERROR) .*", run.stdout, re.MULTILINE):
        scale.note(f"{line:.200}")
    counts = {word: int(count) for count, word in re.findall(r"(\d+) (passed|failed|skipped|errors?)", run.stdout)}
    scale.figure("passed", counts.get("passed", 0), "tests")
    scale.check("pytest -m gpu", run.returncode == 0)

"""The page's logic that needs no browser, run by Node."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent / "js"
OLDEST_NODE = 20


@pytest.fixture(scope="module")
def node() -> str:
    """The `node` on PATH, if it is recent enough to have a test runner."""
    path = shutil.which("node")
    if path is None:
        pytest.skip("no node on PATH: the page's modules are only checked as text (test_page.py)")
    version = subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout
    major = int(re.match(r"v(\d+)", version)[1])  # type: ignore[index]
    if major < OLDEST_NODE:
        pytest.skip(f"node {version.strip()} is too old: {OLDEST_NODE} is needed")
    return path


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.test.mjs")), ids=lambda path: path.name.split(".")[0])
def test_the_module_keeps_its_promises(node: str, file: Path) -> None:
    result = subprocess.run(
        [node, "--test", "--test-reporter=tap", str(file)], capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-2000:]
    assert re.search(r"^# pass [1-9]", result.stdout, re.MULTILINE), "no test was found"

"""The page's logic that needs no browser, run by Node."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent / "js"
OLDEST_NODE = 20


@pytest.fixture(scope="module")
def node() -> str:
    """A Node that has a test runner: the one on PATH, else the one that playwright brings along."""
    for path in (shutil.which("node"), playwrights_node()):
        if path is not None and major(path) >= OLDEST_NODE:
            return path
    pytest.skip(f"no Node from {OLDEST_NODE} on that runs: the page's modules are only checked as text (test_page.py)")


def playwrights_node() -> str | None:
    """Part of its package."""
    spec = importlib.util.find_spec("playwright")
    return shutil.which("node", path=Path(spec.origin).parent / "driver") if spec and spec.origin else None


def major(node: str) -> int:
    """Of its version; 0 of one that does not run: playwright's needs libatomic, which a bare Debian does not have."""
    asked = subprocess.run([node, "--version"], capture_output=True, text=True, check=False)
    return int(asked.stdout.removeprefix("v").partition(".")[0]) if asked.returncode == 0 else 0


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.test.mjs")), ids=lambda path: path.name.split(".")[0])
def test_the_module_keeps_its_promises(node: str, file: Path) -> None:
    result = subprocess.run(
        [node, "--test", "--test-reporter=tap", str(file)], capture_output=True, text=True, timeout=200
    )
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-2000:]
    assert re.search(r"^# pass [1-9]", result.stdout, re.MULTILINE), "no test was found"

"""Programs of the machine that tests need and that need not be there."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest


def installed(program: str) -> str:
    """The path of a program; skips the test where it is missing."""
    path = shutil.which(program)
    if path is None:
        pytest.skip(f"{program} is not installed")
    return path


def present(path: Path, package: str) -> Path:
    """A path that a package of Debian brings; skips the test where it is missing."""
    if not path.exists():
        pytest.skip(f"{path} is missing (Debian: {package})")
    return path


def succeeds(*command: str, folder: Path, timeout_s: float) -> bool:
    """Whether a command ends well in time, for one that may need what is not on the machine."""
    try:
        done = subprocess.run(command, capture_output=True, timeout=timeout_s, cwd=folder)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def words_of(*command: str, folder: Path | None = None, environment: Mapping[str, str] | None = None) -> str:
    """What a command says, which must succeed."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, cwd=folder, env=environment)
    assert done.returncode == 0, f"{command[0]}: {done.stdout[-2000:]}{done.stderr[-4000:]}"
    return done.stdout + done.stderr

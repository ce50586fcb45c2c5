from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.ghz import generate

_ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="session", autouse=True)
def data_files() -> None:
    """The files that the configurations name, where they are looked for."""
    generate.write_all(_ROOT / generate.FOLDER)


@pytest.fixture(autouse=True)
def in_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """Paths in the configurations are relative to the repository, as `make ghz` runs them."""
    monkeypatch.chdir(_ROOT)

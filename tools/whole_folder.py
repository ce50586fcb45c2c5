"""Folder that appears complete or not at all, whatever stops its making."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """An empty folder beside `folder`, whose place it takes when the block ends well."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as work:
        new = Path(work) / "new"
        new.mkdir()
        yield new
        if folder.exists():
            folder.rename(Path(work) / "old")
        new.rename(folder)

"""Where the golden set lies: tensors computed by the original implementation."""

from __future__ import annotations

import os
from pathlib import Path


def golden_dir() -> Path:
    """GOLDEN_DIR when set, else the set in this repository."""
    return Path(os.environ.get("GOLDEN_DIR") or Path(__file__).parent / "golden").resolve()

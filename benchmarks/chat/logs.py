"""Log check: warnings and errors in the logs of the services."""

from __future__ import annotations

import re
from pathlib import Path

_COMPLAINT = re.compile(r"\b(WARNING|ERROR|CRITICAL)\b|^Traceback")


def complaints(folder: Path) -> list[str]:
    """Every line of every log there that is a warning or worse."""
    return [
        f"{path.name}: {line}"
        for path in sorted(folder.glob("*.log"))
        for line in path.read_text(errors="replace").splitlines()
        if _COMPLAINT.search(line)
    ]

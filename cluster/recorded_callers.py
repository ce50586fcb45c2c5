"""The recorded callers of this repository: their side of a call, and what they should be answered."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moshi_cluster.audio.g711 import G711_RATE_HZ
from moshi_cluster.clients.cli.telephone_wav import read_telephone_wav

FOLDER = Path(__file__).resolve().parent.parent / "tests" / "exchanges"
INDEX = "calls.json"


@dataclass(frozen=True)
class RecordedCaller:
    """A caller's side of a call, with its pauses for the replies."""

    mu_law: bytes  # 8000 a second
    turns: Sequence[Mapping[str, Any]]  # as `training.world.session.Turn`

    @property
    def exchanges(self) -> int:
        """Questions that are answered to the end."""
        return sum(not turn["interrupted"] for turn in self.turns)

    def packets(self, packet_ms: int) -> list[bytes]:
        """The recording as a telephone sends it."""
        length = G711_RATE_HZ * packet_ms // 1000
        return [self.mu_law[first : first + length] for first in range(0, len(self.mu_law), length)]


def read(folder: Path = FOLDER) -> list[RecordedCaller]:
    """What `training.world.export_questions` wrote. Raises OSError, ValueError."""
    calls = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    return [RecordedCaller(read_telephone_wav(folder / call["file"]).data, call["turns"]) for call in calls]

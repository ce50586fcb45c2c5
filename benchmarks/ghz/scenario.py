"""ghz scenario: one configuration file, as far as it is needed to run it and to read its report."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.ghz.keys import problems, seconds

FOLDER = Path(__file__).parent
CALIBRATION = "loopback-calibration"
# The order to run them in: the calibration first because the others are read with it, the long one last.
NAMES = (
    CALIBRATION,
    "smoke",
    "telephony",
    "ramp",
    "burst-join",
    "codec-only",
    "lm-only",
    "over-capacity",
    "soak",
)


@dataclass(frozen=True)
class GhzScenario:
    """What one configuration asks ghz to do."""

    name: str
    path: Path
    config: Mapping[str, Any]

    @property
    def service(self) -> str:
        """gateway, codec or lm."""
        return str(self.config["call"].split(".")[2].lower())

    @property
    def expected(self) -> frozenset[str]:
        """Status codes that a sound cluster may give."""
        return frozenset(self.config["tags"]["expected"].split())

    @property
    def required(self) -> frozenset[str]:
        """Status codes without which the run has not shown what it is for."""
        return frozenset(["OK", *self.config["tags"].get("required", "").split()])

    def messages(self) -> list[dict[str, Any]]:
        """The message array, read from where the configuration says."""
        return list(json.loads(Path(self.config["data-file"]).read_text(encoding="ascii")))

    def sends(self) -> int:
        """Messages of one call: `stream-call-count`, or the array once."""
        return int(self.config.get("stream-call-count") or len(self.messages()))

    def ideal_s(self) -> float:
        """Length of a call whose sends and last reply take no time; no wait follows the last send."""
        return (self.sends() - 1) * seconds(self.config["stream-interval"])


def load(name: str) -> GhzScenario:
    """One of NAMES. Raises ValueError for a configuration that ghz would not take as meant."""
    path = FOLDER / f"{name}.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    if found := problems(config):
        raise ValueError(f"{path}: {'; '.join(found)}")
    return GhzScenario(name, path, config)

"""ghz scenario: one configuration, as far as it is needed to run it, to change it and to read its report."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from benchmarks.ghz.keys import problems, seconds

FOLDER = Path(__file__).parent
# The order to run them in: the long one last.
NAMES = ("smoke", "telephony", "ramp", "burst-join", "codec-only", "lm-only", "over-capacity", "soak")
LOOPBACK_CALLS = 16  # as many as a gateway holds unless told otherwise
_OPTION_OF_LIMITS = "moshi-slo-"
_KEYS_OF_ARRIVAL = ("rps", "duration", "duration-stop")


@dataclass(frozen=True)
class GhzScenario:
    """What one configuration asks ghz to do."""

    name: str
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
        return (self.sends() - 1) * self._interval_s

    def with_calls(self, calls: int) -> Self:
        """So many calls at once; ghz refuses more connections than that."""
        return self._changed(total=calls, concurrency=calls, connections=min(calls, self.config["connections"]))

    def with_call_s(self, call_s: float) -> Self:
        """Calls of that length, in seconds; an array that is sent once is cut short, never prolonged."""
        sends = max(1, round(call_s / self._interval_s))
        most = sends if "stream-call-count" in self.config else len(self.messages())
        return self._changed(**{"stream-call-count": min(sends, most)})

    def calibration(self) -> Self | None:
        """As many calls, messages and intervals as loopback calls, all at once; None for a worker: it has none."""
        if self.service != "gateway":
            return None
        texts = self.config["metadata"].items()
        kept = {key: text for key, text in texts if not key.startswith(_OPTION_OF_LIMITS)}
        config = {key: value for key, value in self.config.items() if key not in _KEYS_OF_ARRIVAL}
        config |= {"metadata": kept | {"moshi-loopback": "true"}, "tags": {"expected": "OK"}}
        calls = min(LOOPBACK_CALLS, self.config["concurrency"])
        return replace(self, name=f"{self.name}-calibration", config=config).with_calls(calls)

    @property
    def _interval_s(self) -> float:
        return seconds(self.config["stream-interval"])

    def _changed(self, **keys: Any) -> Self:
        return replace(self, config={**self.config, **keys})


def load(name: str) -> GhzScenario:
    """One of NAMES. Raises ValueError for a configuration that ghz would not take as meant."""
    path = FOLDER / f"{name}.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    if found := problems(config):
        raise ValueError(f"{path}: {'; '.join(found)}")
    return GhzScenario(name, config)

"""Reader of config.json's keys: each is taken once and checked; errors begin with its name."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from moshi_cluster.models.sampling import LIMITS, MOST_TOP_K, Sampling

_LOG = logging.getLogger(__name__)
_MOST_FRAMES = 10_000  # no stream is later


class ConfigReader:
    """Takes keys out of a dictionary, checking each. Raises ValueError naming the key."""

    def __init__(self, values: dict[str, Any], prefix: str = "") -> None:
        self._values = values
        self._prefix = prefix

    def count(self, key: str, least: int, default: int | None = None, most: int | None = None) -> int:
        value = self._take(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"{self._prefix}{key}: expected an integer of at least {least}, found {value!r:.40}")
        if most is not None and value > most:
            raise ValueError(f"{self._prefix}{key}: expected an integer of at most {most}, found {value!r:.40}")
        return value

    def number(self, key: str, default: float) -> float:
        value = self._take(key, default)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < float("inf"):
            raise ValueError(f"{self._prefix}{key}: expected a number of at least 0, found {value!r:.40}")
        return float(value)

    def flag(self, key: str, default: bool) -> bool:
        value = self._take(key, default)
        if not isinstance(value, bool):
            raise ValueError(f"{self._prefix}{key}: expected true or false, found {value!r:.40}")
        return value

    def temperature(self, key: str, default: float) -> float:
        value = self.number(key, default)
        if not (limit := LIMITS["text_temperature"]).allows(value):
            raise ValueError(f"{self._prefix}{key}: must be {limit}, found {value!r}")
        return value

    def top_k(self, key: str, default: int) -> int:
        """0, the whole vocabulary, and whatever is too much become the most there is."""
        wanted = self.count(key, 0, default)
        if not 1 <= wanted <= MOST_TOP_K:
            _LOG.warning("config.json: %s%s: %d is drawn from the %d likeliest", self._prefix, key, wanted, MOST_TOP_K)
        return min(wanted or MOST_TOP_K, MOST_TOP_K)

    def choice(self, key: str, choices: tuple[str, ...], default: str) -> str:
        value = self._take(key, default)
        if value not in choices:
            raise ValueError(f"{self._prefix}{key}: {value!r:.40} is not one of {', '.join(choices)}")
        return str(value)

    def counts(
        self, key: str, length: int, default: tuple[int, ...] | None = None, most: int = _MOST_FRAMES
    ) -> tuple[int, ...]:
        value = self._take(key, default)
        whole = isinstance(value, (list, tuple)) and all(type(item) is int and 0 <= item <= most for item in value)
        if not whole or len(value) != length:
            raise ValueError(f"{self._prefix}{key}: expected {length} integers of 0 to {most}, found {value!r:.80}")
        return tuple(value)

    def only(self, key: str, absent: object, supported: object) -> None:
        """A key with one value that is supported. absent: what upstream takes where the key is not there."""
        given = "" if key in self._values else ", as upstream takes it where the key is absent,"
        value = self._values.pop(key, absent)
        if value != supported or isinstance(value, bool) != isinstance(supported, bool):
            raise ValueError(f"{key}: {value!r:.40}{given} is not supported, only {supported!r}")

    def drop(self, keys: Iterable[str]) -> None:
        """Takes keys that mean nothing in this model."""
        for key in keys:
            self._values.pop(key, None)

    def _take(self, key: str, default: Any) -> Any:
        value = self._values.pop(key, None)
        if value is None:
            value = default
        if value is None:
            raise ValueError(f"{self._prefix}{key}: missing")
        return value


def read_sampling(given: Any) -> Sampling:
    """Sampling of lm_gen_config, the defaults where it is silent. Its other keys tune upstream's generator only."""
    if given is not None and not isinstance(given, Mapping):
        raise ValueError(f"lm_gen_config: expected an object, found {given!r:.40}")
    reader = ConfigReader(dict(given or {}), "lm_gen_config.")
    sampled, ours = reader.flag("use_sampling", True), Sampling()
    return Sampling(
        text_temperature=reader.temperature("temp_text", ours.text_temperature) if sampled else 0.0,
        text_top_k=reader.top_k("top_k_text", ours.text_top_k),
        audio_temperature=reader.temperature("temp", ours.audio_temperature) if sampled else 0.0,
        audio_top_k=reader.top_k("top_k", ours.audio_top_k),
    )

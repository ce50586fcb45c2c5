"""Sampling parameters of a session and their limits: one type, one table, free of torch for all who read it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

MOST_TOP_K = 500
"""Noise and a sort for the 32,000 tokens of a whole vocabulary would cost every session of the batch its time."""


@dataclass(frozen=True)
class Limit:
    """Range of one sampling parameter, both ends included."""

    least: float
    most: float
    upstream_most: float | None = None  # on /api/chat, where Moshi's own servers and clients have another end
    whole: bool = False

    @property
    def upstream(self) -> Limit:
        """Range on /api/chat."""
        return self if self.upstream_most is None else replace(self, most=self.upstream_most)

    def allows(self, value: float) -> bool:
        """Whether a value is in range; no NaN is."""
        return self.least <= value <= self.most

    def __str__(self) -> str:
        return f"{self.least} to {self.most}"


# At 10 the likeliest token is hardly likelier than any other. Upstream's servers end at 2.
_TEMPERATURE = Limit(0, 10, upstream_most=2)
# Upstream's servers take up to the 2048 codes of a codebook; what is above MOST_TOP_K is lowered to it and told.
_TOP_K = Limit(1, MOST_TOP_K, upstream_most=2048, whole=True)

LIMITS: Mapping[str, Limit] = {
    "text_temperature": _TEMPERATURE,
    "text_top_k": _TOP_K,
    "audio_temperature": _TEMPERATURE,
    "audio_top_k": _TOP_K,
    # Every number of 64 bits. Upstream's two seeds are signed.
    "seed": Limit(0, 2**64 - 1, upstream_most=2**63 - 1, whole=True),
    # e^4: 55 times as likely, or as unlikely. Beyond, Moshi says nothing, or never pauses. Upstream's are the same.
    "padding_multiplier": Limit(-4, 4),
    # Below 1 it would reward what it is to prevent; at 2 hardly a word comes twice. Upstream's are the same.
    "repetition_penalty": Limit(1, 2),
    # Text tokens that every step of every session looks through: some 16 s. Upstream's are the same.
    "repetition_penalty_context": Limit(0, 200, whole=True),
}
"""Limits of every parameter, by its name in `Sampling` and in the wire's message."""


class SamplingError(ValueError):
    """A sampling parameter out of its limits."""

    def __init__(self, name: str, expected: str) -> None:
        super().__init__(f"{name}: {expected}")
        self.name = name
        self.expected = expected


@dataclass(frozen=True)
class Sampling:
    """Parameters by which one session's tokens are drawn. Raises SamplingError for one that is out of its limits.

    Temperature 0 is greedy. The defaults are those of Moshi's own servers, for checkpoints that name none. Of
    padding_multiplier and repetition_penalty models.moshi_lm.text_bias has the formulas.
    """

    text_temperature: float = 0.7
    text_top_k: int = 25
    audio_temperature: float = 0.8
    audio_top_k: int = 250
    seed: int = 0
    padding_multiplier: float = 0.0
    repetition_penalty: float = 1.0
    repetition_penalty_context: int = 64  # text tokens

    def __post_init__(self) -> None:
        check(vars(self))


def check(parameters: Mapping[str, float]) -> None:
    """Checks some parameters or all, by name. Raises SamplingError for the first that is out of its limits."""
    for name, value in parameters.items():
        if not LIMITS[name].allows(value):
            raise SamplingError(name, f"must be {LIMITS[name]}")

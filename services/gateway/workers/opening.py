"""Opening of a session: what it begins with, and how long a worker may take."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from moshi_cluster.v1 import common_pb2, lm_pb2

NOBODY = common_pb2.Persona()
LastFrames = Callable[[int | None], tuple[int, Iterable[lm_pb2.HistoryFrame]]]
"""So many last frames of what was said before, oldest first, and how many there were before them; all for None."""


@dataclass(frozen=True)
class OpeningLimits:
    """How long a worker may take to open a stream before another one is asked."""

    held_s: float = 2.0
    """Until it says whether it has a slot: at once."""
    ready_s: float = 5.0
    """Until a session without a history is ready: a fraction of a second; of dozens at once each takes a step's time.

    Half of the default `open_timeout_s`, so that another worker can still be asked.
    """


@dataclass(frozen=True)
class Opening:
    """What an lm session begins with."""

    sampling: common_pb2.Sampling
    history: LastFrames = lambda most: (0, ())
    persona: common_pb2.Persona = field(default_factory=common_pb2.Persona)
    ignores_prompts: bool = False  # where the model takes none

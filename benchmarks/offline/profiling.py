"""Profiles of our models, batch by batch: where the time goes."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch

from benchmarks.offline.model_sizes import Part
from benchmarks.offline.models_under_test import model_under_test
from benchmarks.offline.operators import Kind, operators
from benchmarks.offline.options import Options
from benchmarks.offline.section_timers import REST, stopwatches
from benchmarks.offline.table import markdown


@dataclass(frozen=True)
class Profile:
    """One part at one batch, sessions with full windows."""

    part: Part
    batch: int
    step_ms: float  # median, nothing watching
    sections_ms: Mapping[str, float]
    operators: Mapping[str, Kind]

    def as_json(self) -> dict[str, Any]:
        """Units are in the names."""
        return asdict(self) | {"part": self.part.name}


def profiles(part: Part, options: Options) -> list[Profile]:
    """One per batch."""
    model = model_under_test(part, part.tensors(options.device), options.device)
    found = []
    for batch in options.batches:
        print(f"{part.name}: {batch} sessions", file=sys.stderr)
        sessions = model.sessions(batch, model.ages()[-1])
        step_ms = statistics.median(sessions.run(options.rounds * options.steps))
        steps = options.steps
        with stopwatches(part.kind, options.device) as watches, torch.inference_mode():
            for _ in range(steps):
                watches.run(REST, sessions.step)
        sections = {section: ms / steps for section, ms in watches.total_ms.items()}
        found.append(Profile(part, batch, step_ms, sections, operators(sessions.step, steps)))
    return found


def tables(profiles_of_part: list[Profile]) -> str:
    """By section and by kind of operator, one column per batch."""
    part = profiles_of_part[0].part
    batches = [str(profile.batch) for profile in profiles_of_part]
    sections = dict.fromkeys(section for profile in profiles_of_part for section in profile.sections_ms)
    rows = [[name, *(f"{p.sections_ms.get(name, 0.0):.2f}" for p in profiles_of_part)] for name in sections]
    rows.append(["sum", *(f"{sum(p.sections_ms.values()):.2f}" for p in profiles_of_part)])
    rows.append(["unwatched step", *(f"{p.step_ms:.2f}" for p in profiles_of_part)])
    by_kind = [[kind, *(_told(p.operators[kind]) for p in profiles_of_part)] for kind in profiles_of_part[0].operators]
    return "\n\n".join(
        [
            f"### {part.title}, {part.name}: where the time goes, full windows",
            markdown(["ms by part, sessions:", *batches], rows),
            markdown(["ms (calls) by kind of torch operator, sessions:", *batches], by_kind),
        ]
    )


def _told(kind: Kind) -> str:
    return f"{kind.ms:.2f} ({kind.calls:.0f})"

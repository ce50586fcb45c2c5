"""Profiles of our models, batch by batch: where the time goes."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch

from benchmarks.offline.model_sizes import ModelSize
from benchmarks.offline.models_under_test import model_under_test
from benchmarks.offline.operators import OperatorTime, operators
from benchmarks.offline.options import Options
from benchmarks.offline.section_timers import REST, section_timers
from benchmarks.offline.table import markdown


@dataclass(frozen=True)
class Profile:
    """One model at one batch, sessions with full windows."""

    size: ModelSize
    batch: int
    step_ms: float  # median, nothing watching
    sections_ms: Mapping[str, float]
    operators: Mapping[str, OperatorTime]

    def as_json(self) -> dict[str, Any]:
        """Units are in the names."""
        figures = asdict(self)
        del figures["size"]
        return {"part": self.size.name} | figures


def profiles(size: ModelSize, options: Options) -> list[Profile]:
    """One per batch."""
    model = model_under_test(size, size.tensors(options.device), options.device)
    found = []
    for batch in options.batches:
        print(f"{size.name}: {batch} sessions", file=sys.stderr)
        sessions = model.sessions(batch, model.ages()[-1])
        step_ms = statistics.median(sessions.run(options.rounds * options.steps))
        steps = options.steps
        with section_timers(size.kind, options.device) as timers, torch.inference_mode():
            for _ in range(steps):
                timers.run(REST, sessions.step)
        sections = {section: ms / steps for section, ms in timers.total_ms.items()}
        found.append(Profile(size, batch, step_ms, sections, operators(sessions.step, steps)))
    return found


def tables(profiles_of_size: list[Profile]) -> str:
    """By section and by kind of operator, one column per batch."""
    size = profiles_of_size[0].size
    batches = [str(profile.batch) for profile in profiles_of_size]
    sections = dict.fromkeys(section for profile in profiles_of_size for section in profile.sections_ms)
    rows = [[name, *(f"{p.sections_ms.get(name, 0.0):.2f}" for p in profiles_of_size)] for name in sections]
    rows.append(["sum", *(f"{sum(p.sections_ms.values()):.2f}" for p in profiles_of_size)])
    rows.append(["unwatched step", *(f"{p.step_ms:.2f}" for p in profiles_of_size)])
    by_kind = [[kind, *(_told(p.operators[kind]) for p in profiles_of_size)] for kind in profiles_of_size[0].operators]
    return "\n\n".join(
        [
            f"### {size.title}, {size.name}: where the time goes, full windows",
            markdown(["ms by section, sessions:", *batches], rows),
            markdown(["ms (calls) by kind of torch operator, sessions:", *batches], by_kind),
        ]
    )


def _told(kind: OperatorTime) -> str:
    return f"{kind.ms:.2f} ({kind.calls:.0f})"

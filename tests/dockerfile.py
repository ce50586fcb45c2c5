"""The Dockerfile as stages, read without a container engine."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]


@dataclass
class Stage:
    """What the Dockerfile says between two FROM."""

    parent: str
    copies: list[list[str]] = field(default_factory=list)  # arguments of COPY
    commands: dict[str, list[str]] = field(default_factory=dict)  # ENTRYPOINT and HEALTHCHECK
    arguments: set[str] = field(default_factory=set)  # names of ARG
    others: list[tuple[str, str]] = field(default_factory=list)  # RUN, LABEL, USER and ENV


def stages() -> dict[str, Stage]:
    text = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text())
    found: dict[str, Stage] = {}
    for line in text.splitlines():
        instruction, _, rest = line.partition(" ")
        if instruction == "FROM":
            parent, _, name = rest.partition(" AS ")
            stage = found[name] = Stage(parent)
        elif instruction == "COPY":
            stage.copies.append(rest.split())
        elif instruction in ("ENTRYPOINT", "HEALTHCHECK"):
            stage.commands[instruction] = json.loads(rest[rest.index("[") :])
        elif instruction == "ARG" and found:
            stage.arguments |= {word.partition("=")[0] for word in rest.split()}
        elif instruction in ("RUN", "LABEL", "USER", "ENV"):
            stage.others.append((instruction, rest))
    return found

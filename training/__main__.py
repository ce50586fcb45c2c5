"""`python -m training`: from nothing to a trained and evaluated checkpoint, in stages that go on where they stopped.

world      calls as sound, and callers alone
mimi       the codec
tokens     the calls as the codec's codes, and Moshi's words beside them
voice      the codec's decoder learns Moshi's voice; its codes stay
lm         the language model and, with all that belongs to it, the checkpoint
evaluate   the checkpoint holds calls that it never heard
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

DEFAULT_OUTPUT = Path(".cache/training")


@dataclass(frozen=True)
class Plan:
    """Where things are and how much of them there is."""

    output: Path
    hours: float
    alone_hours: float
    mimi_minutes: float
    voice_minutes: float
    lm_minutes: float

    def stages(self) -> dict[str, list[list[str]]]:
        """The commands of every stage, in order."""
        world, tokens = self.output / "world", self.output / "tokens"
        mimi, tuned, export = self.output / "mimi" / "export", self.output / "mimi" / "tuned", self.output / "export"
        return {
            "world": [
                _module("training.world", split=split, hours=hours, output=world / split)
                for split, hours in (("train", self.hours), ("alone", self.alone_hours), ("eval", 1.0))
            ],
            "mimi": [
                _module("training.mimi", data=world / "train", output=self.output / "mimi", minutes=self.mimi_minutes)
            ],
            "tokens": [
                _module("training.tokens", world=world / split, mimi=mimi, output=tokens / split)
                for split in ("train", "alone", "eval")
            ],
            "voice": [
                _module(
                    "training.mimi.tune",
                    world=world / "train",
                    tokens=tokens / "train",
                    mimi=mimi,
                    output=tuned,
                    minutes=self.voice_minutes,
                )
            ],
            "lm": [
                _module(
                    "training.lm",
                    data=tokens / "train",
                    alone=tokens / "alone",
                    held_out=tokens / "eval",
                    mimi=tuned,
                    output=self.output / "lm",
                    export=export,
                    minutes=self.lm_minutes,
                )
            ],
            "evaluate": [
                _module(
                    "training.evaluate",
                    checkpoint=export,
                    tokens=tokens / "eval",
                    output=self.output / "evaluation.json",
                )
            ],
        }


def _module(name: str, **options: object) -> list[str]:
    given = [part for option, value in options.items() for part in (f"--{option.replace('_', '-')}", str(value))]
    return [sys.executable, "-m", name, *given]


def main() -> int:
    """Command line."""
    stages = list(Plan(Path(), 0, 0, 0, 0, 0).stages())
    parser = argparse.ArgumentParser(
        prog="python -m training", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stages", nargs="*", metavar="STAGE", default=stages, help="all unless given")
    parser.add_argument("--output", type=Path, default=DEFAULT_OUTPUT, help="folder for everything")
    parser.add_argument("--hours", type=float, default=60.0, help="of calls to train on")
    parser.add_argument("--alone-hours", type=float, default=40.0, help="of callers to whom nobody answers")
    parser.add_argument("--mimi-minutes", type=float, default=38.0, help="of training the codec")
    parser.add_argument("--voice-minutes", type=float, default=30.0, help="of training the codec's decoder")
    parser.add_argument("--lm-minutes", type=float, default=150.0, help="of training the language model")
    given = parser.parse_args()
    if unknown := set(given.stages) - set(stages):
        parser.error(f"no such stage: {', '.join(sorted(unknown))}")
    plan = Plan(given.output, given.hours, given.alone_hours, given.mimi_minutes, given.voice_minutes, given.lm_minutes)
    for stage, commands in plan.stages().items():
        if stage not in given.stages:
            continue
        for command in commands:
            print(f"== {stage}: {' '.join(command[1:])}", flush=True)
            if status := subprocess.run(command, check=False).returncode:
                return status
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Codec training: `python -m training.mimi --data FOLDER --output FOLDER --minutes 38`; resumes."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from training.mimi.loop import Loop
from training.mimi.processes import is_worker, join, run_workers


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="training.mimi", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of sessions from training.world")
    parser.add_argument("--output", type=Path, required=True, help="folder for checkpoints, curves and the export")
    parser.add_argument("--minutes", type=float, default=38.0, help="processor time per process, not time on the wall")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="one thread each")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    if not is_worker():
        return run_workers(["training.mimi", *sys.argv[1:]], arguments.processes)
    Loop(arguments.data, arguments.output, arguments.minutes, join()).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())

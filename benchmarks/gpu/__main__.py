"""`python -m benchmarks.gpu`: everything that has to be measured on a card, in eight minutes at most.

Each part is a process with a time box; its figures are in the file as soon as they are known, and a part that fails or
is cut off does not stop the next. `--dry` runs everything, tiny, on a CPU.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path

import torch

from benchmarks.gpu.limits import NOT_A_FAILURE, Limit, limits, verdicts
from benchmarks.gpu.parts import MOST_SECONDS, PARTS, Part
from benchmarks.gpu.report import Figure, Note, Report, table
from benchmarks.gpu.scale import BATCHES, DRY_BATCHES, Scale

_DRY_SECONDS = 300  # against what hangs: a CPU has other times


def main() -> int:
    """0 if every part ran and every check passed."""
    options = _options()
    report = Report(options.results)
    if options.part:
        return _run_here(next(part for part in PARTS if part.name == options.part), report, options.dry)
    if not options.dry and not torch.cuda.is_available():
        print("no CUDA device here; --dry runs everything, tiny, on a CPU", file=sys.stderr)
        return 2
    options.results.unlink(missing_ok=True)
    ends_s = time.monotonic() + options.seconds
    for part in PARTS:
        if not options.only or part.name in options.only:
            left_s = _DRY_SECONDS if options.dry else min(part.seconds, ends_s - time.monotonic())
            _run_boxed(part, report, options, left_s)
    entries = report.entries()
    print("\n" + table(entries))
    print(
        "\n"
        + ("A dry run: these verdicts mean nothing.\n\n" if options.dry else "")
        + verdicts(_limits(options.dry), entries)
    )
    return int(any(_is_bad(entry) for entry in entries))


def _limits(dry: bool) -> list[Limit]:
    if dry:
        return limits(DRY_BATCHES, 0)
    return limits(BATCHES, torch.cuda.get_device_properties(0).total_memory)


def _run_boxed(part: Part, report: Report, options: argparse.Namespace, seconds: float) -> None:
    command = [sys.executable, "-m", "benchmarks.gpu", "--part", part.name, "--results", str(options.results)]
    if seconds <= 0:
        report.add(Note(part.name, "cut off before it began"))
        return
    # A group of its own: what a part has started must not go on beside the next one.
    process = subprocess.Popen([*command, *(["--dry"] if options.dry else [])], start_new_session=True)
    start_s = time.monotonic()
    try:
        if code := process.wait(seconds):
            report.add(Note(part.name, f"failed with exit code {code}"))
    except subprocess.TimeoutExpired:
        report.add(Note(part.name, f"cut off after {seconds:.0f} s"))
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        report.add(Figure(part.name, "all of this part", time.monotonic() - start_s, "s"))


def _run_here(part: Part, report: Report, dry: bool) -> int:
    try:
        part.run(Scale(part.name, report, dry))
    except Exception as error:
        traceback.print_exc()
        first_line = str(error).partition("\n")[0]
        report.add(Note(part.name, f"{type(error).__name__}: {first_line:.200}"))
        return 1
    return 0


def _is_bad(entry: Figure | Note) -> bool:
    if isinstance(entry, Note):
        return entry.text.startswith(("cut off", "failed"))
    return entry.failed and NOT_A_FAILURE not in entry.name


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.gpu", description=__doc__)
    parser.add_argument("--dry", action="store_true", help="tiny shapes on a CPU: shows that the script runs")
    parser.add_argument(
        "--results", type=Path, default=Path("gpu-results.jsonl"), help="where figures go, written anew by each run"
    )
    parser.add_argument("--seconds", type=float, default=MOST_SECONDS, help="for all parts together, 480 if absent")
    parser.add_argument("--only", nargs="+", choices=[part.name for part in PARTS], help="some of the parts")
    parser.add_argument("--part", choices=[part.name for part in PARTS], help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())

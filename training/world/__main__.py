"""World generator, `python -m training.world`: a folder of sessions. A second run goes on."""

from __future__ import annotations

import argparse
import math
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from training.world.session import generate, monologue
from training.world.store import path_of, save

MEAN_SESSION_S = {"train": 21.5, "eval": 21.5, "alone": 15.5}
_SEEDS_PER_RUN = 1_000_000


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m training.world", description=__doc__)
    parser.add_argument("--hours", type=float, default=8.0, help="of calls, about")
    parser.add_argument("--split", choices=tuple(MEAN_SESSION_S), default="train")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    count = math.ceil(arguments.hours * 3600 / MEAN_SESSION_S[arguments.split])
    missing = [number for number in range(count) if not path_of(arguments.output, number).exists()]
    print(f"{count} sessions, {len(missing)} of them to be made", flush=True)
    jobs = [(arguments.seed * _SEEDS_PER_RUN + number, arguments.split, arguments.output, number) for number in missing]
    started, seconds = time.monotonic(), 0.0
    with ProcessPoolExecutor(arguments.processes) as pool:
        for done, made_s in enumerate(pool.map(_make, jobs, chunksize=8), start=1):
            seconds += made_s
            if done % 100 == 0 or done == len(jobs):
                took_s = time.monotonic() - started
                print(f"{done} of {len(jobs)} sessions, {seconds / 3600:.2f} h in {took_s:.0f} s", flush=True)


def _make(job: tuple[int, str, Path, int]) -> float:
    """Seconds of sound made."""
    seed, split, folder, number = job
    session = monologue(seed) if split == "alone" else generate(seed, "eval" if split == "eval" else "train")
    save(session, path_of(folder, number))
    return session.seconds


if __name__ == "__main__":
    main()

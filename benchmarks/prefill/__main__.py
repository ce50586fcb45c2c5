"""`python -m benchmarks.prefill`: what it takes an lm's engine thread to read histories, beside what its steps take.

In the thread's own time on a CPU, so that other programs disturb it as little as can be.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence

import torch

from benchmarks.machine import machine
from benchmarks.offline.table import markdown
from moshi_cluster.cluster.default_checkpoint import DEFAULT_CHECKPOINT
from moshi_cluster.models.loading import Part, resolve
from moshi_cluster.models.loading.lm import load_lm
from moshi_cluster.models.moshi_lm import Generator, Sampling

_TEXT_TOKEN = 3  # padding
_STEPS = 20


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and prints two tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.prefill", description=__doc__)
    parser.add_argument("--checkpoint", default=str(DEFAULT_CHECKPOINT), metavar="FOLDER")
    parser.add_argument("--history", type=int, nargs="+", default=[0, 32, 125, 375], metavar="FRAMES")
    parser.add_argument("--pieces", type=int, nargs="+", default=[32, 64, 128], metavar="FRAMES")
    parser.add_argument("--sessions", type=int, nargs="+", default=[1, 4, 8, 16])
    parser.add_argument("--rounds", type=int, default=5, help="the shortest counts")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)  # as a worker's steps have by default
    print(json.dumps(machine()))
    bench = _Bench(chosen.checkpoint, max(chosen.sessions), chosen.rounds)
    rows = [[str(frames), *(bench.prefill(frames, piece) for piece in chosen.pieces)] for frames in chosen.history]
    print(markdown(["history frames", *(f"ms in pieces of {piece}" for piece in chosen.pieces)], rows))
    print(markdown(["sessions", "ms of a step"], [[str(count), bench.step(count)] for count in chosen.sessions]))


class _Bench:
    def __init__(self, checkpoint: str, slots: int, rounds: int) -> None:
        lm = load_lm(resolve(checkpoint, parts=Part.LM), torch.float32, "cpu")
        self._config = lm.config
        self._generator = Generator(lm, slots)
        self._rounds = rounds

    def prefill(self, frames: int, piece: int) -> str:
        """Until the session can step, with nobody who takes steps beside it."""
        return f"{min(self._timed(lambda: self._open(0, frames, piece)) for _ in range(self._rounds)):.1f}"

    def step(self, sessions: int) -> str:
        """Of sessions whose window is full."""
        codes = torch.zeros(sessions, self._config.user_codebooks, dtype=torch.int64)
        for slot in range(sessions):
            self._open(slot, self._generator.context, 128, leave=False)
        took_ms = [self._timed(lambda: self._generator.step(range(sessions), codes)) for _ in range(_STEPS)]
        for slot in range(sessions):
            self._generator.close(slot)
        return f"{sorted(took_ms)[_STEPS // 2]:.1f}"

    def _open(self, slot: int, frames: int, piece: int, leave: bool = True) -> None:
        history = torch.randint(self._config.card, (frames, self._config.streams))
        history[:, 0] = _TEXT_TOKEN
        self._generator.open(slot, Sampling(seed=slot), history)
        while self._generator.prefill(slot, piece):
            pass
        if leave:
            self._generator.close(slot)

    def _timed(self, work: Callable[[], object]) -> float:
        start_s = time.thread_time()
        work()
        return 1000 * (time.thread_time() - start_s)


if __name__ == "__main__":
    main()

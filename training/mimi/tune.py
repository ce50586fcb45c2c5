"""Second training stage of the codec: the decoder learns Moshi's voice; codes stay what they are.

`python -m training.mimi.tune --world FOLDER --tokens FOLDER --mimi FOLDER --output FOLDER --minutes 30`; resumes.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import load_file, save

from moshi_cluster.audio.frame import FRAME_SAMPLES
from moshi_cluster.models.loading.published import MIMI_NAME
from moshi_cluster.models.mimi import MimiConfig
from moshi_cluster.tools.checkpoint_sizes import MIMI_CONFIG_NAME
from training.mimi.curves import Row, write_table
from training.mimi.tuner import Losses, Tuner
from training.mimi.utterances import Collection, Utterances, collect

_BATCH, _FRAMES = 8, 22
_MOSHI_SHARE = 0.85
_OPENING_EVERY = 16  # steps
_PEAK, _FLOOR = 2e-3, 0.03  # learning rate, and its end as a share of that
_WARM_UP_STEPS = 50
_REPORT_S, _SAVE_S = 30, 110
_SEED = 1


@dataclass
class TuningProgress:
    """How far the tuning is."""

    compute_s: float = 0.0  # processor time, so that being stopped costs nothing
    step: int = 0
    rows: list[Row] = field(default_factory=list)


class Tuning:
    """Tunes until `minutes` of compute are spent, from the last checkpoint in `output` if there is one."""

    def __init__(self, collection: Collection, mimi: Path, output: Path, minutes: float) -> None:
        """mimi: export folder of the first stage; output: of the tuned codec, and for checkpoints."""
        self._output, self._budget_s = output, 60 * minutes
        self._config_text = (mimi / MIMI_CONFIG_NAME).read_text(encoding="utf-8")
        config = MimiConfig.from_dict(json.loads(self._config_text))
        self._seconds_per_step = _BATCH * _FRAMES * FRAME_SAMPLES / config.sample_rate_hz
        self._tuner = Tuner(config, load_file(mimi / MIMI_NAME))
        self.progress = TuningProgress()
        self._state_path = output / "state.pt"
        if self._state_path.exists():
            state = torch.load(self._state_path)
            self.progress = TuningProgress(**state["progress"])
            self._tuner.restore(state["tuner"])
        torch.manual_seed(_SEED + self.progress.step)
        self._source = Utterances(collection, _SEED + self.progress.step)
        self._recent: list[Losses] = []
        self._reported = (self.progress.compute_s, self.progress.step)

    def run(self) -> None:
        """Tunes; the export of the moment is always in `output`."""
        progress, saved_s = self.progress, self.progress.compute_s
        started_s = time.process_time() - progress.compute_s
        while progress.compute_s < self._budget_s:
            self._step()
            progress.compute_s = time.process_time() - started_s
            if progress.compute_s - self._reported[0] >= _REPORT_S:
                self._report()
            if progress.compute_s - saved_s >= _SAVE_S:
                self._save()
                saved_s = progress.compute_s
        self._save()

    def _step(self) -> None:
        step = self.progress.step
        if step % _OPENING_EVERY == 0:
            batch = self._source.draw_openings(_BATCH, _FRAMES)
        else:
            batch = self._source.draw(_BATCH, _FRAMES, _MOSHI_SHARE)
        self._recent.append(self._tuner.step(batch, rate(step, self.progress.compute_s / self._budget_s)))
        self.progress.step += 1

    def _report(self) -> None:
        now_s, steps = self.progress.compute_s, self.progress.step
        before_s, steps_before = self._reported
        speed = (steps - steps_before) * self._seconds_per_step / (now_s - before_s)
        row = {"minutes": now_s / 60, "step": float(steps), "audio_s_per_s": speed}
        row |= {name: sum(one[name] for one in self._recent) / len(self._recent) for name in self._recent[0]}
        self.progress.rows.append(row)
        self._recent.clear()
        self._reported = (now_s, steps)
        losses = " ".join(f"{name} {row[name]:.3f}" for name in row if name not in ("minutes", "step"))
        print(f"{now_s / 60:5.1f} min, step {steps}: {losses}", flush=True)

    def _save(self) -> None:
        """Checkpoint and export, each whole or not at all."""
        state = {"progress": self.progress.__dict__, "tuner": self._tuner.state()}
        partial = self._output / "partial"
        torch.save(state, partial)
        partial.rename(self._state_path)
        partial.write_bytes(save(self._tuner.published()))
        partial.rename(self._output / MIMI_NAME)
        (self._output / MIMI_CONFIG_NAME).write_text(self._config_text, encoding="utf-8")
        write_table(self.progress.rows, self._output / "curves.csv")


def rate(step: int, spent: float) -> float:
    """The learning rate; spent: the share of the compute that is gone."""
    cosine = _FLOOR + (1 - _FLOOR) * (1 + math.cos(math.pi * min(spent, 1.0))) / 2
    return _PEAK * min(1.0, (step + 1) / _WARM_UP_STEPS) * cosine


def collected(world: Path, tokens: Path, cache: Path) -> Collection:
    """The utterances; the second time from `cache`."""
    if not cache.exists():
        partial = cache.with_suffix(".partial")
        torch.save(collect(world, tokens), partial)
        partial.rename(cache)
    found: Collection = torch.load(cache, weights_only=False)  # written above
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="training.mimi.tune", description=__doc__.partition("\n\n")[0])
    parser.add_argument("--world", type=Path, required=True, help="folder of sessions")
    parser.add_argument("--tokens", type=Path, required=True, help="folder of the same sessions, tokenised")
    parser.add_argument("--mimi", type=Path, required=True, help="export folder of training.mimi")
    parser.add_argument("--output", type=Path, required=True, help="folder for the tuned codec and checkpoints")
    parser.add_argument("--minutes", type=float, default=30.0, help="processor time, not time on the wall")
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.output.mkdir(parents=True, exist_ok=True)
    collection = collected(given.world, given.tokens, given.output / "utterances.pt")
    print(", ".join(f"{len(found)} of kind {kind}" for kind, found in collection.items()), flush=True)
    Tuning(collection, given.mimi, given.output, given.minutes).run()


if __name__ == "__main__":
    main()

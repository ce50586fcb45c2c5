"""Training loop of the codec: steps until the compute is spent; checkpoints, reports and exports on the way."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import save

from moshi_cluster.audio.frame import FRAME_SAMPLES
from moshi_cluster.models.loading.published import MIMI_NAME
from moshi_cluster.models.mimi import MimiConfig
from moshi_cluster.tools.checkpoint_sizes import MIMI_CONFIG_NAME
from training.mimi.crops import CropSource
from training.mimi.curves import Row, draw, write_table
from training.mimi.learner import Learner, Losses
from training.mimi.processes import mean
from training.mimi.schedule import phase
from training.mimi.sizes import CROP_FRAMES, demo_config

CROPS_PER_PROCESS = 4
_REPORT_S = 20
_SAVE_S = 110
_SEED = 1


@dataclass
class TrainingProgress:
    """How far the training is."""

    compute_s: float = 0.0  # processor time of one process, so that being stopped costs nothing
    step: int = 0
    frozen_s: float | None = None  # compute after which encoder and codebooks were final
    rows: list[Row] = field(default_factory=list)


class Loop:
    """Trains until `minutes` of compute are spent, from the last checkpoint in `output` if there is one."""

    def __init__(self, data: Path, output: Path, minutes: float, rank: int) -> None:
        self._output, self._budget_s, self._rank = output, 60 * minutes, rank
        torch.manual_seed(_SEED)  # the same weights in all processes
        self._learner = Learner(MimiConfig.from_dict(demo_config()))
        self.progress = TrainingProgress()
        self._state_path = output / "state.pt"
        if self._state_path.exists():
            self._restore()
        seed = _SEED + 1000 * self.progress.step + rank
        torch.manual_seed(seed)
        self._source = CropSource(data, CROP_FRAMES, seed)
        self._recent: list[Losses] = []
        self._reported = (self.progress.compute_s, time.monotonic(), self.progress.step)

    def run(self) -> None:
        """Trains, then exports."""
        progress, saved_s = self.progress, self.progress.compute_s
        started_s = time.process_time() - progress.compute_s
        while progress.compute_s < self._budget_s:
            self._step()
            (progress.compute_s,) = mean([time.process_time() - started_s])
            if progress.compute_s - self._reported[0] >= _REPORT_S:
                self._report()
            if progress.compute_s - saved_s >= _SAVE_S:
                self._save()
                saved_s = progress.compute_s
        self._save()
        self._export()

    def _step(self) -> None:
        progress = self.progress
        now = phase(progress.compute_s, self._budget_s, progress.step, progress.frozen_s)
        if now.codes_final and progress.frozen_s is None:
            progress.frozen_s = progress.compute_s
            self._save()  # a resumed run must not move codes that somebody already uses
            self._export()
        self._recent.append(self._learner.step(self._source.draw(CROPS_PER_PROCESS, now.moshi_share), now))
        progress.step += 1

    def _report(self) -> None:
        now_s, wall_s, steps = self.progress.compute_s, time.monotonic(), self.progress.step
        before_s, wall_before_s, steps_before = self._reported
        crop_s = CROP_FRAMES * FRAME_SAMPLES / self._learner.network.config.sample_rate_hz
        audio_s = (steps - steps_before) * CROPS_PER_PROCESS * crop_s
        row = {"minutes": now_s / 60, "step": float(steps), "audio_s_per_s": audio_s / (now_s - before_s)}
        names = self._recent[-1].keys()
        kept = [losses for losses in self._recent if losses.keys() == names]
        row |= {name: sum(losses[name] for losses in kept) / len(kept) for name in names}
        used = self._learner.network.quantizer.perplexities()
        row |= {f"used_{index}": value for index, value in enumerate(used)}
        self.progress.rows.append(row)
        self._recent.clear()
        self._reported = (now_s, wall_s, steps)
        if self._rank == 0:
            share = (now_s - before_s) / (wall_s - wall_before_s)
            losses = " ".join(f"{name} {row[name]:.3f}" for name in names)
            entries = " ".join(f"{value:.0f}" for value in used)
            print(
                f"{now_s / 60:5.1f} min, step {steps}, {row['audio_s_per_s']:.0f} s of audio per s and process, "
                f"{share:.0%} of a core: {losses}; entries {entries}",
                flush=True,
            )

    def _save(self) -> None:
        if self._rank != 0:
            return
        partial = self._state_path.with_suffix(".partial")
        torch.save({"progress": self.progress.__dict__, "learner": self._learner.state()}, partial)
        partial.rename(self._state_path)
        write_table(self.progress.rows, self._output / "curves.csv")

    def _restore(self) -> None:
        state = torch.load(self._state_path)
        self.progress = TrainingProgress(**state["progress"])
        self._learner.restore(state["learner"])

    def _export(self) -> None:
        if self._rank != 0:
            return
        folder = self._output / "export"
        folder.mkdir(exist_ok=True)
        (folder / MIMI_NAME).write_bytes(save(self._learner.network.published()))
        (folder / MIMI_CONFIG_NAME).write_text(json.dumps(demo_config(), indent=2) + "\n", encoding="utf-8")
        draw(self.progress.rows, self._output / "curves.png")
        print(f"exported to {folder}", flush=True)

"""Training loop of the language model."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from training.lm.auxiliary import CallerHeads
from training.lm.budget import Budget
from training.lm.curves import LOSSES, Curves
from training.lm.data import Batch, Batches
from training.lm.losses import LossWeights, corrupted, losses
from training.lm.model import TrainableLm
from training.lm.optimiser import learning_rate, optimisers, set_rate
from training.lm.together import rank_and_processes
from training.mimi.processes import average_gradients, mean


@dataclass(frozen=True)
class Recipe:
    """How the model is trained."""

    minutes: float = 150.0
    frames_per_batch: int = 1600  # and process
    alone_frames_per_batch: int = 1200
    peak_rate: float = 3e-3
    dropout: float = 0.1
    own_corruption: float = 0.03  # share of codes replaced by random ones
    user_corruption: float = 0.05
    clip_norm: float = 1.0
    log_steps: int = 20
    save_s: float = 120.0
    evaluate_minutes: float = 10.0
    seed: int = 1
    weights: LossWeights = LossWeights()


Evaluate = Callable[[], dict[str, Any]]


class Trainer:
    """Steps a model until the recipe's minutes are used; a new one with the same folder goes on where it stopped."""

    def __init__(
        self, lm: TrainableLm, heads: CallerHeads, calls: Batches, alone: Batches, folder: Path, recipe: Recipe
    ) -> None:
        """alone: callers to whom nobody answers, beside every batch of calls."""
        self._lm, self._heads, self._calls, self._alone, self._recipe = lm, heads, calls, alone, recipe
        self._folder = folder
        self._optimisers = optimisers([lm, heads], recipe.peak_rate)
        self._step = self._pass = self._alone_pass = 0
        self._stopped = False
        self.budget = Budget()
        self._resume()
        self._curves = Curves(folder)
        self._sums: dict[str, float] = {}
        self._frames, self._noted_s, self._saved_s = 0, self.budget.used_s, self.budget.used_s
        self._next_evaluation = (int(self.minutes / recipe.evaluate_minutes) + 1) * recipe.evaluate_minutes
        self._is_first = rank_and_processes()[0] == 0
        torch.manual_seed(recipe.seed + self._step + 1_000_003 * rank_and_processes()[0])

    @property
    def minutes(self) -> float:
        return self.budget.used_s / 60

    def stop(self) -> None:
        """`run` saves after the step that it is in, and returns; so do the other processes."""
        self._stopped = True

    def run(self, evaluate: Evaluate) -> None:
        """evaluate() is called every few minutes and at the end, by the first process and not at the budget's cost."""
        if self._is_first:
            self._curves.go_on(self._step)
        progress, stopped = self._agreed()
        both = zip(self._calls.forever(self._pass), self._alone.forever(self._alone_pass), strict=True)
        for (self._pass, batch), (self._alone_pass, alone) in both:
            if stopped or progress >= 1:
                break
            self._train(batch, alone, progress)
            progress, stopped = self._agreed()
            if self._is_first and progress < 1:
                self._save_or_evaluate(evaluate)
        if self._is_first:
            if progress >= 1:
                self._evaluate(evaluate)
            self.save()

    def _agreed(self) -> tuple[float, bool]:
        """Share of the budget that is used, and whether a process is to stop: the same in all of them."""
        used_s, stopped = mean([self.budget.used_s, float(self._stopped)])
        return min(1.0, used_s / (60 * self._recipe.minutes)), stopped > 0

    def _save_or_evaluate(self, evaluate: Evaluate) -> None:
        """When it is time."""
        if self.budget.used_s - self._saved_s > self._recipe.save_s:
            self.save()
        if self.minutes >= self._next_evaluation:
            self._next_evaluation += self._recipe.evaluate_minutes
            self._evaluate(evaluate)

    def _train(self, batch: Batch, alone: Batch, progress: float) -> None:
        recipe = self._recipe
        rate = learning_rate(recipe.peak_rate, self._step, progress)
        set_rate(self._optimisers, rate)
        batch, alone = self._corrupted(batch), self._corrupted(alone)
        with torch.autocast(batch.inputs.device.type, torch.bfloat16):
            found = losses(self._lm, self._heads, batch, alone, recipe.weights, recipe.dropout)
        total = found.total(recipe.weights)
        total.backward()
        parameters = [p for optimiser in self._optimisers for group in optimiser.param_groups for p in group["params"]]
        for parameter in parameters:  # a batch without a question leaves the word head without one
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        average_gradients(parameters)
        torch.nn.utils.clip_grad_norm_(parameters, recipe.clip_norm)
        for optimiser in self._optimisers:
            optimiser.step()
            optimiser.zero_grad()
        self._step += 1
        self._note(found.numbers(), batch.frames, rate)

    def _corrupted(self, batch: Batch) -> Batch:
        recipe, config = self._recipe, self._lm.config
        inputs = corrupted(batch.inputs, config.card, config.generated, recipe.own_corruption, recipe.user_corruption)
        return replace(batch, inputs=inputs)

    def _note(self, numbers: dict[str, float], frames: int, rate: float) -> None:
        self._frames += frames
        for name, value in numbers.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        if self._step % self._recipe.log_steps:
            return
        if not self._is_first:
            return
        means = {name: self._sums[name] / self._recipe.log_steps for name in LOSSES}
        row = {"step": self._step, "minutes": self.minutes, "rate": rate, "frames": self._frames}
        self._curves.add(row | means)
        said = ", ".join(f"{name} {value:.3f}" for name, value in means.items())
        speed = self._frames / max(1e-9, self.budget.used_s - self._noted_s)
        print(f"step {self._step}, {self.minutes:.1f} min, {speed:.0f} frames/s: {said}", flush=True)
        self._noted_s, self._frames, self._sums = self.budget.used_s, 0, {}

    def _evaluate(self, evaluate: Evaluate) -> None:
        before = self.budget.used_s
        evaluation = {"step": self._step, "minutes": round(self.minutes, 2)} | evaluate()
        self._curves.add_evaluation(evaluation)
        self._curves.draw(self._folder / "curves.png")
        print(json.dumps(evaluation), flush=True)
        self.budget.leave_out(self.budget.used_s - before)

    def save(self) -> None:
        """Everything that `_resume` needs, whole or not at all."""
        state = {
            "lm": self._lm.state_dict(),
            "heads": self._heads.state_dict(),
            "optimisers": [optimiser.state_dict() for optimiser in self._optimisers],
            "step": self._step,
            "pass": self._pass,
            "alone_pass": self._alone_pass,
            "used_s": self.budget.used_s,
        }
        partial = self._folder / "state.partial"
        torch.save(state, partial)
        partial.rename(self._folder / "state.pt")
        self._saved_s = self.budget.used_s

    def _resume(self) -> None:
        path = self._folder / "state.pt"
        if not path.exists():
            return
        state = torch.load(path, weights_only=True)
        self._lm.load_state_dict(state["lm"])
        self._heads.load_state_dict(state["heads"])
        for optimiser, stored in zip(self._optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(stored)
        self._step = state["step"]
        self._pass, self._alone_pass = state["pass"] + 1, state["alone_pass"] + 1
        self.budget = Budget(state["used_s"])
        print(f"going on at step {self._step}, {self.minutes:.1f} min", flush=True)

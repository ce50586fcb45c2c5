"""Calls in real time on one card: encode, lm and decode, each on a thread and a stream of its own."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.gpu.codec import load
from benchmarks.gpu.lm_step import static_step
from benchmarks.gpu.scale import Scale, free_memory
from benchmarks.online.quantiles import quantile
from moshi_cluster.models.accelerator import prepare_thread
from moshi_cluster.models.device_step import buckets_up_to
from moshi_cluster.models.mimi import Mimi
from moshi_cluster.models.mimi.static import static_decoder, static_encoder
from moshi_cluster.models.moshi_lm import Sampling
from moshi_cluster.models.moshi_lm.static.step import StaticStep

_FRAME_S = 0.08
_WAIT_S = 0.0005
_FRAMES = 150
_PATIENCE_S = 30.0


def run(scale: Scale) -> None:
    """Full windows in 8 bits, in random phases, then all in one phase."""
    mimi = load(scale)  # before slots are counted
    step = static_step(scale, torch.int8, beside_codec=True)
    step.warm()
    calls = step.slots
    scale.figure("calls at once", calls, "calls")
    for name, phase in (("random phases", random.Random(1).random), ("one phase", lambda: 0.0)):
        traffic = Traffic(scale, mimi, step, [_FRAME_S * phase() for _ in range(calls)])
        traffic.run(3 if scale.dry else _FRAMES)
        traffic.tell(name)
        del traffic  # there is memory for one codec


@dataclass
class Frame:
    """One frame of a call on its way."""

    slot: int
    due_s: float
    row: Tensor  # samples, then codes of the caller, then codes of the reply


Work = Callable[[list[Frame]], Tensor]  # a batch of frames of different calls -> a row of results for each


class Stage:
    """Takes whatever waits as the next batch, a frame of a call at a time, as a worker does."""

    def __init__(self, scale: Scale, work: Work, then: Callable[[list[Frame]], None]) -> None:
        self.taken_s: list[float] = []  # of every batch
        self.rows = 0
        self._scale, self._work, self._then = scale, work, then
        self._waiting: list[Frame] = []
        self._changed = threading.Condition()
        self._ended = False
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Stage:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify()
        self._thread.join(_PATIENCE_S)

    def give(self, frames: Sequence[Frame]) -> None:
        with self._changed:
            self._waiting.extend(frames)
            self._changed.notify()

    def _run(self) -> None:
        try:
            prepare_thread(self._scale.device)
            on_device = self._scale.device.type == "cuda"
            with torch.cuda.stream(torch.cuda.Stream()) if on_device else contextlib.nullcontext():
                while frames := self._take():
                    self._pass(frames)
        except BaseException as error:  # told by who waits for the last frame
            self.error = error

    def _take(self) -> list[Frame]:
        """A frame of every call that waits; none at the end."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._waiting or self._ended, _PATIENCE_S):
                raise TimeoutError(f"no frame came for {_PATIENCE_S:g} s")
            batch: dict[int, Frame] = {}
            later = []
            for frame in self._waiting:
                if batch.setdefault(frame.slot, frame) is not frame:
                    later.append(frame)
            self._waiting = later
        return list(batch.values())

    def _pass(self, frames: list[Frame]) -> None:
        start_s = time.perf_counter()
        for frame, row in zip(frames, self._work(frames), strict=True):
            frame.row = row
        self.taken_s.append(time.perf_counter() - start_s)
        self.rows += len(frames)
        self._then(frames)


class Traffic:
    """Calls whose frames come every 80 ms."""

    def __init__(self, scale: Scale, mimi: Mimi, step: StaticStep, phases_s: list[float]) -> None:
        free_memory()
        self._scale, self._mimi, self._step, self._phases_s = scale, mimi, step, phases_s
        sessions = len(phases_s)
        buckets = buckets_up_to(sessions)
        self._encoder, self._decoder = static_encoder(mimi, sessions, buckets), static_decoder(mimi, sessions, buckets)
        self._encoder.warm()
        self._decoder.warm()
        self._calls = [scale.lm_config.context + 1] * sessions
        for slot in range(sessions):
            step.state.open(slot, Sampling(seed=slot), torch.empty(0, step.config.streams, dtype=torch.int64))
        scale.synchronise()  # what was written on this thread's stream the stages' streams do not wait for
        self.turnaround_s: list[float] = []
        self._decode = Stage(scale, self._decoded, self._done)
        self._lm = Stage(scale, self._answered, self._decode.give)
        self._encode = Stage(scale, self._encoded, self._lm.give)
        self._stages = {"encode": self._encode, "lm": self._lm, "decode": self._decode}

    def run(self, frames: int) -> None:
        """So many frames of every call."""
        pcm = 0.07 * torch.randn(len(self._phases_s), self._mimi.config.frame_samples)
        with self._decode, self._lm, self._encode:
            start_s = time.perf_counter() + _FRAME_S
            due = sorted(
                (start_s + phase_s + n * _FRAME_S, slot)
                for n in range(frames)
                for slot, phase_s in enumerate(self._phases_s)
            )
            while due:
                now_s = time.perf_counter()
                here = next((index for index, (due_s, _) in enumerate(due) if due_s > now_s), len(due))
                self._encode.give([Frame(slot, due_s, pcm[slot]) for due_s, slot in due[:here]])
                del due[:here]
                time.sleep(_WAIT_S)
            self._wait_for_the_last(frames * len(self._phases_s))

    def tell(self, name: str) -> None:
        """Figures of all frames, and of each stage's batches."""
        tell = self._scale.figure
        tell(f"{name}: turnaround p50", 1000 * quantile(self.turnaround_s, 0.5), "ms")
        tell(f"{name}: turnaround p99", 1000 * quantile(self.turnaround_s, 0.99), "ms")
        tell(f"{name}: turnaround at most", 1000 * max(self.turnaround_s), "ms")
        late = sum(taken_s > _FRAME_S for taken_s in self.turnaround_s)
        tell(f"{name}: frames above 80 ms", late, f"of {len(self.turnaround_s)}")
        for stage_name, stage in self._stages.items():
            tell(f"{name}: {stage_name}, mean batch", stage.rows / len(stage.taken_s), "rows")
            tell(f"{name}: {stage_name} p50", 1000 * quantile(stage.taken_s, 0.5), "ms")
            tell(f"{name}: {stage_name} p99", 1000 * quantile(stage.taken_s, 0.99), "ms")

    def _wait_for_the_last(self, frames: int) -> None:
        until_s = time.perf_counter() + _PATIENCE_S
        while len(self.turnaround_s) < frames:
            for stage in self._stages.values():
                if stage.error is not None:
                    raise stage.error
            if time.perf_counter() > until_s:
                raise TimeoutError(f"{len(self.turnaround_s)} of {frames} frames came back")
            time.sleep(_WAIT_S)

    def _encoded(self, frames: list[Frame]) -> Tensor:
        return self._encoder.step([frame.slot for frame in frames], torch.stack([frame.row for frame in frames]))

    def _answered(self, frames: list[Frame]) -> Tensor:
        """The lm's codes for one frame of each of these calls: int64 [N, K]."""
        config = self._step.config
        codes = torch.stack([frame.row for frame in frames])[:, : config.user_codebooks].clamp(max=config.card - 1)
        unknown = torch.full((len(frames), config.generated), -1)
        where = torch.tensor([[frame.slot, self._calls[frame.slot]] for frame in frames])
        self._step.launch(torch.cat((where, unknown, codes), dim=1).int())
        for frame in frames:
            self._calls[frame.slot] += 1
        reply = self._step.finish()[:, 1:].long()
        return reply.clamp(0, self._mimi.config.bins - 1)[:, : self._mimi.codebooks]

    def _decoded(self, frames: list[Frame]) -> Tensor:
        return self._decoder.step([frame.slot for frame in frames], torch.stack([frame.row for frame in frames]))

    def _done(self, frames: list[Frame]) -> None:
        now_s = time.perf_counter()
        self.turnaround_s.extend(now_s - frame.due_s for frame in frames)

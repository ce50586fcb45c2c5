"""Calls in real time on one card: encode, lm and decode in one process."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field

import torch
from torch import Tensor

from benchmarks.gpu.codec import load
from benchmarks.gpu.lm_step import static_step
from benchmarks.gpu.scale import Scale, free_memory
from benchmarks.online.quantiles import quantile
from moshi_cluster.models.device_step import buckets_up_to
from moshi_cluster.models.mimi import Mimi
from moshi_cluster.models.mimi.static import static_decoder, static_encoder
from moshi_cluster.models.moshi_lm import Sampling
from moshi_cluster.models.moshi_lm.static.step import StaticStep

_FRAME_S = 0.08
_WAIT_S = 0.0005


def run(scale: Scale) -> None:
    """Full windows in 8 bits, in random phases, then all in one phase."""
    mimi = load(scale)  # before slots are counted
    step = static_step(scale, torch.int8, beside_codec=True)
    step.warm()
    calls = step.slots
    scale.figure("calls at once", calls, "calls")
    for name, phase in (("random phases", random.Random(1).random), ("one phase", lambda: 0.0)):
        traffic = Traffic(scale, mimi, step, [_FRAME_S * phase() for _ in range(calls)])
        traffic.run(frames=3 if scale.dry else 150)
        scale.figure(f"{name}: turnaround p50", 1000 * quantile(traffic.turnaround_s, 0.5), "ms")
        scale.figure(f"{name}: turnaround p99", 1000 * quantile(traffic.turnaround_s, 0.99), "ms")
        late = sum(taken_s > _FRAME_S for taken_s in traffic.turnaround_s)
        scale.figure(f"{name}: frames above 80 ms", late, f"of {len(traffic.turnaround_s)}")
        scale.figure(f"{name}: mean batch", len(traffic.turnaround_s) / max(1, traffic.steps), "rows")


@dataclass
class Traffic:
    """Calls whose frames come every 80 ms; whatever waits is the next batch."""

    scale: Scale
    mimi: Mimi
    step: StaticStep
    phases_s: list[float]
    turnaround_s: list[float] = field(default_factory=list)
    steps: int = 0

    def run(self, frames: int) -> None:
        """So many frames of every call."""
        free_memory()
        sessions = len(self.phases_s)
        encoder, decoder = (
            half(self.mimi, sessions, buckets_up_to(sessions)) for half in (static_encoder, static_decoder)
        )
        encoder.warm()
        decoder.warm()
        calls = [self.scale.lm_config.context + 1] * sessions
        for slot in range(sessions):
            self.step.state.open(slot, Sampling(seed=slot), torch.empty(0, self.step.config.streams, dtype=torch.int64))
        start_s = time.perf_counter() + _FRAME_S
        due_s = [start_s + phase_s for phase_s in self.phases_s]
        left = [frames] * sessions
        while any(left):
            now_s = time.perf_counter()
            slots = [slot for slot, due in enumerate(due_s) if left[slot] and due <= now_s]
            if not slots:
                time.sleep(_WAIT_S)
                continue
            pcm = 0.07 * torch.randn(len(slots), self.mimi.config.frame_samples)
            codes = encoder.step(slots, pcm)
            decoder.step(slots, self._reply(slots, calls, codes))
            done_s = time.perf_counter()
            self.steps += 1
            for slot in slots:
                self.turnaround_s.append(done_s - due_s[slot])
                due_s[slot] += _FRAME_S
                calls[slot] += 1
                left[slot] -= 1

    def _reply(self, slots: list[int], calls: list[int], codes: Tensor) -> Tensor:
        """The lm's codes for one frame of these calls: int64 [N, K]."""
        config = self.step.config
        unknown = torch.full((len(slots), config.generated), -1)
        where = torch.tensor([slots, [calls[slot] for slot in slots]]).T
        codes = codes[:, : config.user_codebooks].clamp(max=config.card - 1)
        self.step.launch(torch.cat((where, unknown, codes), dim=1).int())
        reply = self.step.finish()[:, 1:].long()
        return reply.clamp(0, self.mimi.config.bins - 1)[:, : self.mimi.codebooks]

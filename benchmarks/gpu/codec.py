"""Mimi's static steps: frames of several sessions, encoded and decoded, with IEEE products and with TF32."""

from __future__ import annotations

import time

import torch
from torch import Tensor

from benchmarks.gpu.scale import Scale, free_memory
from benchmarks.online.quantiles import quantile
from moshi_cluster.models.device_step import buckets_up_to
from moshi_cluster.models.mimi import Mimi
from moshi_cluster.models.mimi.config import MimiConfig
from moshi_cluster.models.mimi.static import static_decoder, static_encoder


def load(scale: Scale) -> Mimi:
    """Random weights of the published size."""
    size = scale.mimi_size
    return Mimi.from_tensors(size.tensors(scale.device), MimiConfig.from_dict(size.config), device=scale.device)


def run(scale: Scale) -> None:
    """Milliseconds of a frame by sessions, and how many codes TF32 changes."""
    mimi = load(scale)
    for sessions in scale.batches:
        exact = _measure(scale, mimi, sessions, tf32=False)
        rounded = _measure(scale, mimi, sessions, tf32=True)
        agreement = float((exact == rounded).float().mean())
        scale.figure(f"{sessions} sessions: codes that TF32 leaves as they are", 100 * agreement, "%")


def _measure(scale: Scale, mimi: Mimi, sessions: int, tf32: bool) -> Tensor:
    """Times a frame there and back; gives the codes of all frames."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
    random = torch.Generator().manual_seed(sessions)
    free_memory()
    encoder, decoder = (half(mimi, sessions, buckets_up_to(sessions)) for half in (static_encoder, static_decoder))
    encoder.warm()
    decoder.warm()
    codes, there_ms, back_ms = [], [], []
    for _ in range(scale.steps):
        pcm = 0.07 * torch.randn(sessions, mimi.config.frame_samples, generator=random)
        start_s = time.perf_counter()
        codes.append(encoder.step(range(sessions), pcm))
        middle_s = time.perf_counter()
        decoder.step(range(sessions), codes[-1])
        there_ms.append(1000 * (middle_s - start_s))
        back_ms.append(1000 * (time.perf_counter() - middle_s))
    kind = "TF32" if tf32 else "IEEE"
    scale.figure(f"{kind}, {sessions} sessions: encode p50", quantile(there_ms, 0.5), "ms")
    scale.figure(f"{kind}, {sessions} sessions: decode p50", quantile(back_ms, 0.5), "ms")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    return torch.stack(codes)

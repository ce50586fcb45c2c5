"""Mimi's static steps: frames of several sessions, there and back, with IEEE products and with TF32; and upstream's."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor

from benchmarks.gpu.scale import Scale, free_memory
from benchmarks.gpu.upstream import FIRST_STEPS, upstream_models
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
    """Milliseconds of a frame by sessions, how many codes TF32 changes, and the same of upstream's codec."""
    mimi = load(scale)
    theirs = _upstream(scale)
    for sessions in scale.batches:
        exact = _measure(scale, mimi, sessions, tf32=False)
        rounded = _measure(scale, mimi, sessions, tf32=True)
        agreement = float((exact == rounded).float().mean())
        scale.figure(f"{sessions} sessions: codes that TF32 leaves as they are", 100 * agreement, "%")
        if theirs is not None:
            _measure_upstream(scale, theirs, sessions)


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


def _upstream(scale: Scale) -> Any:
    """Upstream's codec of the same size, with weights of its own making; None without its package."""
    models = upstream_models(scale)
    if models is None:
        return None
    theirs = models.loaders.get_mimi(None, dict(scale.mimi_size.config), device=scale.device, num_codebooks=8)
    for parameter in theirs.parameters():
        parameter.requires_grad_(False)
    return theirs


@torch.inference_mode()
def _measure_upstream(scale: Scale, theirs: Any, sessions: int) -> None:
    free_memory()
    pcm = 0.07 * torch.randn(sessions, 1, 1920, device=scale.device)
    there_ms, back_ms = [], []
    with theirs.streaming(sessions):
        for _ in range(FIRST_STEPS + scale.steps):
            start_s = time.perf_counter()
            codes = theirs.encode(pcm)
            scale.synchronise()
            middle_s = time.perf_counter()
            theirs.decode(codes)
            scale.synchronise()
            there_ms.append(1000 * (middle_s - start_s))
            back_ms.append(1000 * (time.perf_counter() - middle_s))
    scale.figure(f"upstream, {sessions} sessions: encode p50", quantile(there_ms[FIRST_STEPS:], 0.5), "ms")
    scale.figure(f"upstream, {sessions} sessions: decode p50", quantile(back_ms[FIRST_STEPS:], 0.5), "ms")

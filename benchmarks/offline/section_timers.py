"""Section timers: functions of the models wrapped by timers, for as long as a profile is taken."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from moshi_cluster.models.layers.linear import Linear
from moshi_cluster.models.mimi.attention import SlotBySlotAttention
from moshi_cluster.models.mimi.product import OnePerSession
from moshi_cluster.models.mimi.quantizer import Quantizer
from moshi_cluster.models.mimi.resample import Downsample, Upsample
from moshi_cluster.models.mimi.seanet import SeanetDecoder, SeanetEncoder
from moshi_cluster.models.mimi.transformer import MimiTransformer
from moshi_cluster.models.moshi_lm import MoshiLm
from moshi_cluster.models.moshi_lm.attention import StepAttention
from moshi_cluster.models.moshi_lm.depth import DepthTransformer
from moshi_cluster.models.moshi_lm.embeddings import TokenTables
from moshi_cluster.models.moshi_lm.sampling import Draws
from moshi_cluster.models.moshi_lm.temporal import TemporalTransformer

REST = "everything else"
PRODUCTS = "products"
_LM_SECTIONS: list[tuple[type, str, str]] = [
    (TokenTables, "sum", "embeddings"),
    (TemporalTransformer, "__call__", "temporal"),
    (StepAttention, "attend", "temporal: attention"),
    (MoshiLm, "text_logits", "text head"),
    (DepthTransformer, "__call__", "depth"),
    (Draws, "text", "sampling: text"),
    (Draws, "audio", "sampling: audio"),
]
_MIMI_SECTIONS: list[tuple[type, str, str]] = [
    (SeanetEncoder, "__call__", "SEANet encoder"),
    (SeanetDecoder, "__call__", "SEANet decoder"),
    (MimiTransformer, "__call__", "transformers"),
    (SlotBySlotAttention, "__call__", "transformers: attention"),
    (Downsample, "__call__", "resampling"),
    (Upsample, "__call__", "resampling"),
    (Quantizer, "encode", "quantizer"),
    (Quantizer, "decode", "quantizer"),
]
_SECTIONS = {"lm": _LM_SECTIONS, "mimi": _MIMI_SECTIONS}
_PRODUCT_CALLS = [(owner, name) for owner in (Linear, OnePerSession) for name in ("__call__", "gelu", "add")]


class SectionTimers:
    """Milliseconds by section. Time spent in an inner section is not counted in the outer one."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.total_ms: dict[str, float] = defaultdict(float)
        self._running: list[tuple[str, float]] = []  # section, time taken by inner ones

    def run(self, section: str, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Calls `work` and books its time."""
        start_ms = self._now_ms()
        self._running.append((section, 0.0))
        try:
            return work(*args, **kwargs)
        finally:
            taken_ms = self._now_ms() - start_ms
            _, inner_ms = self._running.pop()
            self.total_ms[section] += taken_ms - inner_ms
            if self._running:
                outer, already_ms = self._running[-1]
                self._running[-1] = (outer, already_ms + taken_ms)

    def products(self) -> str:
        """The section of a matrix product made now."""
        return f"{self._running[-1][0]}: {PRODUCTS}" if self._running else PRODUCTS

    def _now_ms(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return 1000 * time.perf_counter()


@contextmanager
def section_timers(kind: str, device: torch.device) -> Iterator[SectionTimers]:
    """kind: lm or mimi. Inside the block its sections are timed."""
    timers = SectionTimers(device)
    originals = []
    for owner, name, section in _SECTIONS[kind]:
        originals.append((owner, name, getattr(owner, name)))
        setattr(owner, name, _timed(timers, getattr(owner, name), section))
    for owner, name in _PRODUCT_CALLS:
        originals.append((owner, name, getattr(owner, name)))
        setattr(owner, name, _timed(timers, getattr(owner, name), None))
    try:
        yield timers
    finally:
        for owner, name, original in originals:
            setattr(owner, name, original)


def _timed(timers: SectionTimers, work: Callable[..., Any], section: str | None) -> Callable[..., Any]:
    def run(*args: Any, **kwargs: Any) -> Any:
        return timers.run(section or timers.products(), work, *args, **kwargs)

    return run

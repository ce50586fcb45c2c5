"""Scale of a run: Moshi's size on a card, or everything tiny on a CPU, to see that the script runs."""

from __future__ import annotations

import gc
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from benchmarks.gpu.report import Figure, Note, Report
from benchmarks.offline.model_sizes import MODEL_SIZES
from benchmarks.offline.random_on_device import on_device
from moshi_cluster.models.accelerator import prepare_thread
from moshi_cluster.models.free_memory import free_bytes
from moshi_cluster.models.loading.published import MOSHI_7B
from moshi_cluster.models.mimi import MimiConfig
from moshi_cluster.models.mimi.sizes import CodecRoom, CodecSize
from moshi_cluster.models.moshi_lm import LmConfig, MoshiLm
from moshi_cluster.models.moshi_lm.sizes import Fit, StepSize, slot_size
from moshi_cluster.models.moshi_lm.static import SPARE_PLACES, buckets_for

BATCHES, DRY_BATCHES = (1, 16, 64, 128), (1, 2, 3, 4)
"""Sessions that are measured: one, few, many, most."""
_TINY = MOSHI_7B | {
    "dim": 64,
    "text_card": 100,
    "card": 32,
    "num_heads": 4,
    "num_layers": 2,
    "context": 40,
    "depformer_dim": 32,
    "depformer_dim_feedforward": 66,
    "depformer_num_heads": 2,
    "depformer_num_layers": 1,
}


@dataclass
class Scale:
    """What the parts run with, and where their figures go."""

    part: str
    report: Report
    dry: bool

    def __post_init__(self) -> None:
        self.device = torch.device("cpu" if self.dry else "cuda:0")
        self.config: Mapping[str, Any] = _TINY if self.dry else MOSHI_7B
        self.batches = DRY_BATCHES if self.dry else BATCHES
        self.steps = 2 if self.dry else 40
        self.fills = (0.25, 1.0) if self.dry else (0.25, 0.5, 1.0)
        prepare_thread(self.device)
        torch.set_num_threads(1)  # as a worker's

    def figure(self, name: str, value: float, unit: str) -> None:
        self.report.add(Figure(self.part, name, value, unit))

    def check(self, name: str, passed: bool) -> None:
        self.report.add(Figure(self.part, name, float(passed), "passed"))

    def note(self, text: str) -> None:
        self.report.add(Note(self.part, text))

    @cached_property
    def tensors(self) -> dict[str, Tensor]:
        """Random weights of the LM, made on the device."""
        torch.manual_seed(1)
        return on_device(self.config, self.device)

    @cached_property
    def lm_config(self) -> LmConfig:
        return LmConfig.from_dict(self.config)

    @cached_property
    def lm(self) -> MoshiLm:
        return MoshiLm.from_tensors(self.tensors, self.lm_config, torch.bfloat16, self.device)

    @property
    def step_weight_bytes(self) -> int:
        """Of the weights that every step reads: all but the tables."""
        return sum(tensor.nbytes for name, tensor in self.tensors.items() if "emb" not in name)

    def slots_that_fit(self, kv_dtype: torch.dtype, most: int, beside_codec: bool = False) -> int:
        """Slots with full windows that the free memory holds beside a step for as many sessions.

        beside_codec: and beside a codec for them.
        """
        config = self.lm.config  # the model is made before free memory is looked at
        size = slot_size(config, None, kv_dtype, SPARE_PLACES)
        free_memory()
        free = free_bytes(self.device)
        if self.dry or free is None:
            return most
        codec = CodecRoom(CodecSize(MimiConfig.from_dict(self.mimi_size.config))) if beside_codec else None
        fit = Fit(free, 1.0, size, StepSize(config, buckets_for(most)[-1], size.context), codec)
        if fit.slots < most:
            self.note(f"left out: {most} sessions, for {fit}")
        return min(most, fit.slots)

    @property
    def mimi_size(self) -> Any:
        """The codec's size: the published one, or a small one."""
        codecs = [size for size in MODEL_SIZES if size.kind == "mimi"]
        return codecs[0] if self.dry else codecs[-1]

    def synchronise(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def free_memory() -> None:
    """Gives back what nothing refers to: a static step and what it records refer to each other, until this runs."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()

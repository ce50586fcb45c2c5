"""The static step's memory by formula is what its tensors take at most."""

from __future__ import annotations

import pytest
import torch

from moshi_cluster.models.moshi_lm.sizes import RUNTIME_BYTES, StepSize, slot_size
from moshi_cluster.models.moshi_lm.static import SPARE_PLACES
from moshi_cluster.models.moshi_lm.static.step import StaticStep
from tests.models.moshi_lm.static.test_counts import seven_b
from tests.models.peak_memory import PeakMemory

KV_DTYPES = [torch.int8, torch.bfloat16]


@pytest.mark.parametrize("rows", [16, 192])
def test_a_step_is_planned_with_its_temporaries(rows: int) -> None:
    lm = seven_b()
    step = StaticStep(lm, 2, kv_dtype=torch.int8, buckets=[rows])
    with PeakMemory() as memory:
        step.warm()
    planned = StepSize(lm.config, rows, lm.config.context + SPARE_PLACES).nbytes - RUNTIME_BYTES
    assert memory.most_bytes <= planned <= 2.1 * memory.most_bytes


@pytest.mark.parametrize("kv_dtype", KV_DTYPES)
def test_a_session_is_what_its_slot_takes(kv_dtype: torch.dtype) -> None:
    lm, taken = seven_b(), []
    for slots in (2, 12):
        with PeakMemory() as memory:
            kept = StaticStep(lm, slots, kv_dtype=kv_dtype, buckets=[16])
        taken.append(memory.bytes)
        del kept
    size = slot_size(lm.config, None, kv_dtype, SPARE_PLACES).nbytes
    assert (taken[1] - taken[0]) / 10 == pytest.approx(size, rel=0.001)

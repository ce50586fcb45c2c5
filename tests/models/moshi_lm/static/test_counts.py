"""What a step of Moshi's size costs on a device beside its arithmetic: launches, copies, waits, bytes gathered."""

from __future__ import annotations

import random
from functools import cache

import pytest
import torch

from benchmarks.offline.random_on_device import on_device
from moshi_cluster.models.loading.published import MOSHI_7B
from moshi_cluster.models.moshi_lm import LmConfig, MoshiLm, Sampling
from moshi_cluster.models.moshi_lm.static import BUCKETS, StaticGenerator
from tests.models.launches import Launches

MOST_LAUNCHES = 800
SLOTS = 160
PENALISED = Sampling(repetition_penalty=1.2, padding_multiplier=-1.0)


@cache
def seven_b() -> MoshiLm:
    meta = torch.device("meta")
    return MoshiLm.from_tensors(on_device(MOSHI_7B, meta), LmConfig.from_dict(MOSHI_7B), device=meta)


def generator_with(rows: int, kv_dtype: torch.dtype | None) -> tuple[StaticGenerator, list[int]]:
    """Sessions of random ages in random slots, with holes between them, some with a text bias."""
    chance = random.Random(rows)
    generator = StaticGenerator(seven_b(), SLOTS, kv_dtype=kv_dtype)
    slots = sorted(chance.sample(range(SLOTS), rows))
    with Launches():
        for slot in slots:
            generator.open(slot, PENALISED if slot % 3 else Sampling())
            session = generator._sessions[slot]
            session.call = chance.choice([session.ready_at, 700, 2999, 3072, 45_000])
    return generator, slots


@pytest.mark.parametrize("kv_dtype", [None, torch.int8], ids=["bf16", "int8"])
@pytest.mark.parametrize("rows", [1, 16, 64, 128])
def test_a_step_is_few_launches_one_copy_each_way_and_no_other_wait(rows: int, kv_dtype: torch.dtype | None) -> None:
    generator, slots = generator_with(rows, kv_dtype)
    bucket = next(bucket for bucket in BUCKETS if bucket >= rows)
    codes = torch.zeros(rows, generator._config.user_codebooks, dtype=torch.int64)
    with Launches(ring for layer in generator.rings for ring in layer.tensors) as step:
        generator.launch(slots, codes)
        generator.finish()
    assert step.kernels.total() <= MOST_LAUNCHES, step.kernels.most_common(20)
    assert step.to_device_bytes == [4 * bucket * (2 + 17)]
    assert step.to_host_bytes == [4 * bucket * 9]
    assert step.gathered_bytes == 0


def test_prefill_that_goes_along_costs_no_launch_and_no_copy() -> None:
    counts = []
    for prefilled in (0, 3):
        generator, slots = generator_with(16, torch.int8)
        history = torch.zeros(500, generator._config.streams, dtype=torch.int64)
        with Launches() as step:
            for slot in sorted(set(range(SLOTS)) - set(slots))[:prefilled]:
                generator.open(slot, Sampling(), history)
            opened = len(step.to_device_bytes)
            generator.launch(slots, torch.zeros(16, generator._config.user_codebooks, dtype=torch.int64))
            generator.finish()
        assert opened == prefilled and len(step.to_device_bytes) == opened + 1
        counts.append(step.kernels.total())
    assert counts[0] == counts[1]


def test_a_gather_from_a_ring_is_counted() -> None:
    ring = torch.empty(4, 8, device="meta")
    with Launches([ring]) as step:
        ring.index_select(0, torch.empty(2, dtype=torch.int64, device="meta"))
        ring[:2].view(-1)
    assert step.gathered_bytes == 2 * 8 * 4
    assert step.kernels.total() == 1


def test_reading_from_the_device_is_found() -> None:
    with pytest.raises(AssertionError, match="reads from the device"), Launches():
        torch.empty(1, device="meta").item()

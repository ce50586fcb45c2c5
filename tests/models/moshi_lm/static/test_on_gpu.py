"""What has to be equal on a real device, bit for bit, at tiny shapes: `pytest -m gpu`; `make gpu` has Moshi's."""

from __future__ import annotations

import pytest
import torch

from benchmarks.gpu.checks import prefill_is_stepping, said
from moshi_cluster.models.moshi_lm import LmConfig, MoshiLm, Sampling
from moshi_cluster.models.moshi_lm.static import StaticGenerator
from tests.models.moshi_lm.conversation import alone, open_ready, speak
from tests.models.moshi_lm.random_model import MOSHI_LIKE, random_lm, random_tensors

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here"),
]
KV_DTYPES = [torch.bfloat16, torch.int8]


def on_device(dtype: torch.dtype) -> MoshiLm:
    tensors = {name: tensor.cuda() for name, tensor in random_tensors(MOSHI_LIKE).items()}
    return MoshiLm.from_tensors(tensors, LmConfig.from_dict(MOSHI_LIKE), dtype, "cuda:0")


@pytest.mark.parametrize(
    "sampling", [Sampling(seed=3), Sampling(seed=4, repetition_penalty=1.5, padding_multiplier=-1)]
)
def test_in_float32_it_says_what_a_cpu_says(sampling: Sampling) -> None:
    lm = on_device(torch.float32)
    generator = StaticGenerator(lm, 4, buckets=(4,), spare=3)
    generator.warm()
    open_ready(generator, 2, sampling)
    assert speak(generator, lm.config, 2, 1, range(60)).tolist() == alone(random_lm(), sampling, 1, 60).tolist()


@pytest.mark.parametrize("kv_dtype", KV_DTYPES)
def test_recorded_is_eager_and_alone_is_in_a_batch(kv_dtype: torch.dtype) -> None:
    lm = on_device(torch.bfloat16)
    recorded = said(lm, kv_dtype, [16], 16, neighbours=0)
    assert torch.equal(recorded, said(lm, kv_dtype, [16], 16, neighbours=0, recorded=False))
    assert torch.equal(recorded, said(lm, kv_dtype, [16], 16, neighbours=9))


@pytest.mark.parametrize("kv_dtype", KV_DTYPES)
def test_a_prefilled_state_is_the_stepped_one(kv_dtype: torch.dtype) -> None:
    assert prefill_is_stepping(on_device(torch.bfloat16), kv_dtype, [16])


def test_what_an_earlier_session_left_behind_disturbs_nobody() -> None:
    lm = on_device(torch.float32)
    generator = StaticGenerator(lm, 2, buckets=(4,), spare=3)
    generator.warm()
    for layer in generator.rings:
        for ring in layer.tensors:
            ring.fill_(float("nan"))
    open_ready(generator, 1, Sampling(seed=3))
    expected = alone(random_lm(), Sampling(seed=3), 4, 20)
    assert speak(generator, lm.config, 1, 4, range(20)).tolist() == expected.tolist()

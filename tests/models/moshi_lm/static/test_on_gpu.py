"""What has to be equal bit for bit on a device, with a small model and with Moshi's: `pytest -m gpu`.

The small model runs on a CPU, too, where there is no device, so that the checks themselves are run.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from benchmarks.gpu.checks import chosen, prefill_is_stepping, said
from benchmarks.gpu.scale import free_memory
from benchmarks.offline.random_on_device import on_device
from moshi_cluster.models.accelerator import prepare_thread
from moshi_cluster.models.free_memory import free_bytes
from moshi_cluster.models.layers.quantised.quantise import per_row
from moshi_cluster.models.loading.published import MOSHI_7B
from moshi_cluster.models.moshi_lm import LmConfig, MoshiLm, Sampling
from moshi_cluster.models.moshi_lm.static import StaticGenerator
from tests.models.moshi_lm.conversation import GREEDY, alone, open_ready, speak
from tests.models.moshi_lm.random_model import MOSHI_LIKE, random_lm, random_tensors

HAS_CUDA = torch.cuda.is_available()
DEVICE = torch.device("cuda:0" if HAS_CUDA else "cpu")
ON_GPU = [pytest.mark.gpu] if HAS_CUDA else []
SEVEN_B_BYTES = 60e9  # weights in bfloat16 and in float32, rings of the few sessions of a check, steps
KV_DTYPES = [torch.bfloat16, torch.int8]
kv_dtypes = pytest.mark.parametrize("kv_dtype", KV_DTYPES, ids=["bf16", "int8"])
needs_cuda = pytest.mark.skipif(not HAS_CUDA, reason="no CUDA device here")


class Sizes:
    """A model's tensors, and the buckets that are compared."""

    def __init__(self, seven_b: bool) -> None:
        config = MOSHI_7B if seven_b else MOSHI_LIKE
        self._config = LmConfig.from_dict(config)
        self._tensors = on_device(config, DEVICE) if seven_b else random_tensors(config)
        self.bucket, self.other_bucket = (64, 16) if seven_b else (8, 4)
        self.frames = 24

    def lm(self, dtype: torch.dtype = torch.bfloat16, in_8_bits: bool = False) -> MoshiLm:
        tensors = {name: tensor.to(DEVICE) for name, tensor in self._tensors.items()}
        return MoshiLm.from_tensors(tensors, self._config, dtype, DEVICE, per_row if in_8_bits else None)


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(False, id="small", marks=ON_GPU),
        pytest.param(True, id="seven_b", marks=[pytest.mark.gpu, needs_cuda]),
    ],
)
def sizes(request: pytest.FixtureRequest) -> Iterator[Sizes]:
    prepare_thread(DEVICE)
    free = free_bytes(DEVICE)
    if request.param and (free is None or free < SEVEN_B_BYTES):
        pytest.skip(f"{(free or 0) / 1e9:.0f} GB free, Moshi's weights want {SEVEN_B_BYTES / 1e9:.0f}")
    made = Sizes(request.param)
    yield made
    del made
    free_memory()


@kv_dtypes
def test_recorded_is_eager_and_alone_is_the_last_of_a_batch(sizes: Sizes, kv_dtype: torch.dtype) -> None:
    lm, rows = sizes.lm(), sizes.bucket
    recorded = said(lm, kv_dtype, [rows], 1)
    assert torch.equal(recorded, said(lm, kv_dtype, [rows], 1, recorded=False))
    neighbours = min(rows, 12) - 1  # rings of more sessions are for cards with more memory
    assert torch.equal(recorded, said(lm, kv_dtype, [rows], neighbours + 1, neighbours=neighbours))


@kv_dtypes
def test_a_row_in_another_bucket(sizes: Sizes, kv_dtype: torch.dtype) -> None:
    lm = sizes.lm()
    same = torch.equal(said(lm, kv_dtype, [sizes.bucket], 1), said(lm, kv_dtype, [sizes.other_bucket], 1))
    if not same and HAS_CUDA:
        pytest.xfail("cuBLAS picks another product for another number of rows: --one-bucket is for that")
    assert same


@kv_dtypes
def test_a_prefilled_state_is_the_stepped_one(sizes: Sizes, kv_dtype: torch.dtype) -> None:
    assert prefill_is_stepping(sizes.lm(), kv_dtype, [sizes.bucket])


@kv_dtypes
def test_what_others_left_behind_disturbs_nobody(sizes: Sizes, kv_dtype: torch.dtype) -> None:
    lm, rows = sizes.lm(), [sizes.bucket]
    assert torch.equal(said(lm, kv_dtype, rows, 2, poisoned=True), said(lm, kv_dtype, rows, 2))


@pytest.mark.parametrize(
    ("kv_dtype", "in_8_bits"), [(torch.bfloat16, False), (torch.int8, False), (torch.bfloat16, True)]
)
def test_fewer_bits_flip_few_tokens_along_forced_text(sizes: Sizes, kv_dtype: torch.dtype, in_8_bits: bool) -> None:
    forced = chosen(sizes.lm(torch.float32), torch.float32, sizes.frames)
    tokens = chosen(sizes.lm(in_8_bits=in_8_bits), kv_dtype, sizes.frames, forced)
    flipped = float((tokens != forced)[..., 0].double().mean())
    # Something that is broken flips nearly all; what fewer bits flip with random weights nobody has measured on a card.
    assert flipped < 0.25


def test_without_forcing_a_float32_model_repeats_itself(sizes: Sizes) -> None:
    lm = sizes.lm(torch.float32)
    forced = chosen(lm, torch.float32, 6)
    assert torch.equal(chosen(lm, torch.float32, 6, forced), forced)
    assert torch.equal(chosen(lm, torch.float32, 6), forced)


@pytest.mark.gpu
@needs_cuda
@pytest.mark.parametrize(
    "sampling", [Sampling(seed=3), Sampling(seed=4, repetition_penalty=1.5, padding_multiplier=-1)]
)
def test_in_float32_it_says_what_a_cpu_says(sampling: Sampling) -> None:
    lm = Sizes(seven_b=False).lm(torch.float32)
    generator = StaticGenerator(lm, 4, buckets=(4,), spare=3)
    generator.warm()
    open_ready(generator, 2, sampling)
    assert speak(generator, lm.config, 2, 1, range(60)).tolist() == alone(random_lm(), sampling, 1, 60).tolist()


@pytest.mark.gpu
@needs_cuda
@pytest.mark.parity
def test_120_greedy_frames_are_upstreams_exactly(golden_dir: Path) -> None:
    config = LmConfig.from_dict(json.loads((golden_dir / "lm_tiny" / "config.json").read_text()))
    tensors = {name: tensor.to(DEVICE) for name, tensor in load_file(golden_dir / "lm_tiny/model.safetensors").items()}
    lm = MoshiLm.from_tensors(tensors, config, torch.float32, DEVICE)
    expected = load_file(golden_dir / "lm_tiny" / "outputs_f32.safetensors")
    generator = StaticGenerator(lm, 2, buckets=(4,))
    generator.warm()
    open_ready(generator, 1, GREEDY)
    for frame, tokens in zip(expected["user_codes"].T[1:], expected["tokens"][1:], strict=True):
        reply = generator.step([1], frame[None])
        assert torch.cat([reply.text, reply.audio[0]]).tolist() == tokens.tolist()

"""Keys and values may be buffer in fewer bits; whoever does pays with precision and nothing else."""

from __future__ import annotations

import pytest
import torch

from moshi_cluster.models.moshi_lm import Generator, Sampling
from moshi_cluster.models.moshi_lm.kv_buffer import Int8KvBuffer, kv_buffer, vector_bytes
from tests.models.moshi_lm.conversation import GREEDY, open_ready, speak, user_frame
from tests.models.moshi_lm.random_model import random_lm

SHAPE = (3, 2, 5, 16)  # slots, heads, places, head_dim
DTYPES = [torch.float32, torch.bfloat16, torch.int8]


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_written_is_read_within_the_precision_of_its_type(dtype: torch.dtype) -> None:
    x = torch.randn(2, 2, 16, generator=torch.Generator().manual_seed(0))
    x[0, 0], x[1, 1] = x[0, 0] * 1000, 0
    buffer = kv_buffer(SHAPE, dtype, "cpu")
    buffer.write(torch.tensor([2, 0]), torch.tensor([4, 1]), x)
    for slots in ((0, 3), torch.tensor([0, 1, 2])):
        values, scales = buffer.read(slots, 5, torch.float32)
        found = values if scales is None else values * scales[..., None]
        precision = {torch.float32: 0, torch.bfloat16: 2**-8, torch.int8: 0.5 / 127}[dtype]
        for row, (slot, place) in enumerate(((2, 4), (0, 1))):
            error = (found[slot, :, place] - x[row]).abs()
            assert (error <= 1.001 * precision * x[row].abs().amax(-1, keepdim=True)).all()
        assert not found[1].any() and not found[0, :, 0].any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_buffer_takes_the_bytes_that_it_says(dtype: torch.dtype) -> None:
    stored = sum(tensor.nbytes for tensor in kv_buffer(SHAPE, dtype, "cpu").tensors)
    assert stored == 3 * 2 * 5 * vector_bytes(16, dtype)


def test_8_bits_attend_nearly_as_float32_does() -> None:
    lm = random_lm()
    plain, eight = lm.kv_cache(2), lm.kv_cache(2, dtype=torch.int8)
    generator = torch.Generator().manual_seed(1)
    for frame in range(3 * lm.config.context):
        q, k, v = torch.randn(3, 2, lm.config.num_heads, 16, generator=generator).unbind(0)
        ours, exact = (cache.step([0, 1], [frame, frame]).attend(0, q / 4, k, v) for cache in (eight, plain))
        assert (ours - exact).abs().max() < 0.03
        assert not torch.equal(ours, exact)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kv_dtype", DTYPES)
def test_sessions_stay_independent_and_restorable(dtype: torch.dtype, kv_dtype: torch.dtype) -> None:
    lm = random_lm("moshi", dtype)
    frames = range(2 * lm.config.context)
    sampling = Sampling(seed=5)
    alone = Generator(lm, 1, kv_dtype=kv_dtype)
    open_ready(alone, 0, sampling)
    history = speak(alone, lm.config, 0, 5, frames)
    crowd = Generator(lm, 3, kv_dtype=kv_dtype)
    for slot, settings in ((0, GREEDY), (1, sampling), (2, GREEDY)):
        open_ready(crowd, slot, settings)
    said = [
        crowd.step([0, 1, 2], torch.cat([user_frame(lm.config, caller, frame) for caller in (1, 5, 2)]))
        for frame in frames
    ]
    assert [int(reply.text[1]) for reply in said] == history[:, 0].tolist()
    crowd.close(1)
    open_ready(crowd, 1, sampling, history)
    rest = range(len(frames), len(frames) + 4)
    assert speak(crowd, lm.config, 1, 5, rest).tolist() == speak(alone, lm.config, 0, 5, rest).tolist()


def test_a_closed_slot_is_all_zeros_in_8_bits_too() -> None:
    generator = Generator(random_lm(), 2, kv_dtype=torch.int8)
    open_ready(generator, 1, GREEDY)
    generator.step([1], user_frame(random_lm().config, 0, 0))
    assert any(tensor[1].any() for tensor in generator.kv_cache.keys)
    generator.close(1)
    assert not any(tensor.any() for tensor in (*generator.kv_cache.keys, *generator.kv_cache.values))


def test_a_chunk_in_one_call_reads_8_bits_as_steps_do() -> None:
    lm = random_lm()
    stepped, chunked = lm.kv_cache(1, dtype=torch.int8), lm.kv_cache(1, dtype=torch.int8)
    generator = torch.Generator().manual_seed(3)
    start = 0
    for rows in (3, 9, 2):
        q, k, v = torch.randn(3, rows, lm.config.num_heads, 16, generator=generator).unbind(0)
        expected = stepped.chunk(0, start, rows).attend(0, q / 4, k, v)
        assert (chunked.chunk_in_one_call(0, start, rows).attend(0, q / 4, k, v) - expected).abs().max() < 0.05
        assert torch.equal(chunked.keys[0], stepped.keys[0])
        start += rows


def test_zeros_are_zeros() -> None:
    buffer = Int8KvBuffer(SHAPE, "cpu")
    buffer.write(torch.tensor([0]), torch.tensor([0]), torch.zeros(1, 2, 16))
    values, scales = buffer.read((0, 1), 1, torch.float32)
    assert scales is not None and not (values * scales[..., None]).any()

"""Ring attention at Moshi's shapes against float64, past 2^31 elements: on a device, and with fewer slots on a CPU."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from moshi_cluster.models.free_memory import free_bytes
from moshi_cluster.models.kernels.ring_attention import ring_attention
from moshi_cluster.models.moshi_lm.static.kv_rings import KvRing, kv_rings
from tests.models.kernels.conftest import DEVICE, HAS_CUDA

HEADS, D, CONTEXT, CAPACITY = (32, 128, 3000, 3072) if HAS_CUDA else (2, 16, 40, 45)
SLOTS = 180 if HAS_CUDA else 5
"""With 171 slots and more a layer has more than 2^31 elements."""
BOUNDS = {torch.int8: 1e-5, torch.bfloat16: 2e-2}
pytestmark = [pytest.mark.gpu] if HAS_CUDA else []
dtypes = pytest.mark.parametrize("dtype", [torch.int8, torch.bfloat16])


@pytest.fixture
def ring(request: pytest.FixtureRequest) -> Callable[[torch.dtype], KvRing]:
    def made(dtype: torch.dtype) -> KvRing:
        shape = SLOTS, HEADS, CAPACITY, D
        wanted = 3 * SLOTS * HEADS * CAPACITY * (D * dtype.itemsize + 4)
        free = free_bytes(DEVICE)
        if free is not None and free < wanted:
            pytest.skip(f"{free / 1e9:.1f} GB free, {wanted / 1e9:.1f} wanted")
        (one,) = kv_rings(1, shape, dtype, DEVICE)
        for tensor in one.tensors:  # what no row may look at
            tensor.fill_(float("nan") if tensor.is_floating_point() else 127)
        return one

    return made


@dtypes
def test_rows_of_the_first_and_the_last_slots_attend_to_their_own_context(
    ring: Callable[[torch.dtype], KvRing], dtype: torch.dtype
) -> None:
    one = ring(dtype)
    slots, positions = [0, SLOTS - 1, SLOTS - 2, 1], [CONTEXT + 5, 7 * CAPACITY + 11, CONTEXT // 3, 0]
    generator = torch.Generator(DEVICE).manual_seed(0)
    for slot, position in zip(slots, positions, strict=True):
        _fill(one, slot, _seen(position), generator)
    q_dtype = torch.float32 if dtype == torch.int8 else dtype
    q = torch.randn(len(slots), HEADS, D, generator=generator, device=DEVICE).div(D**0.5).to(q_dtype)
    where = torch.tensor(slots, device=DEVICE), torch.tensor(positions, device=DEVICE)
    out = ring_attention(q, one.keys, one.values, one.key_scales, one.value_scales, *where, CONTEXT)
    for row, (slot, position) in enumerate(zip(slots, positions, strict=True)):
        exact = _exact(one, q[row], slot, _seen(position))
        assert (out[row].double() - exact).abs().max() < BOUNDS[dtype]


def _seen(position: int) -> Tensor:
    """Places that a row at a position attends to."""
    return torch.arange(max(0, position - CONTEXT + 1), position + 1, device=DEVICE) % CAPACITY


def _fill(ring: KvRing, slot: int, places: Tensor, generator: torch.Generator) -> None:
    shape = HEADS, len(places), D
    for codes, scales in ((ring.keys, ring.key_scales), (ring.values, ring.value_scales)):
        if scales is None:
            codes[slot][:, places] = torch.randn(shape, generator=generator, device=DEVICE).to(codes.dtype)
        else:
            codes[slot][:, places] = torch.randint(-127, 128, shape, generator=generator, device=DEVICE).to(torch.int8)
            scales[slot][:, places] = torch.rand(shape[:2], generator=generator, device=DEVICE) / 64


def _exact(ring: KvRing, q: Tensor, slot: int, places: Tensor) -> Tensor:
    """[heads * D] in float64."""
    k, v = ring.keys[slot][:, places].double(), ring.values[slot][:, places].double()
    if ring.key_scales is not None and ring.value_scales is not None:
        k, v = k * ring.key_scales[slot][:, places, None], v * ring.value_scales[slot][:, places, None]
    weights = torch.einsum("hd,hpd->hp", q.double(), k).softmax(dim=1)
    return torch.einsum("hp,hpd->hd", weights, v).flatten()

"""Ring attention by its definition, written out in float64, whatever lies in the places that do not count."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from moshi_cluster.models.kernels.int8_vectors import int8_codes
from moshi_cluster.models.kernels.ring_attention import split_places
from moshi_cluster.models.layers.rope import Rope, rotate
from tests.models.kernels.conftest import DEVICE, Kernel

HEADS, D, CONTEXT, CAPACITY, SLOTS = 2, 64, 40, 45, 3
SMALL = {"split": 32, "block": 16}  # splits of several blocks, of several vectors in each group; the last not full
Get = Callable[[str, str], Kernel]
few = settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
positions_of_rows = st.lists(st.integers(-1, 4 * CAPACITY), min_size=1, max_size=SLOTS)


class Rings:
    """Random keys and values of several slots."""

    def __init__(self, dtype: torch.dtype) -> None:
        generator = torch.Generator().manual_seed(0)
        wide = torch.randn(2, SLOTS, HEADS, CAPACITY, D, generator=generator)
        self.key_scales = self.value_scales = None
        if dtype == torch.int8:
            (self.keys, self.values), (self.key_scales, self.value_scales) = (x.to(DEVICE) for x in int8_codes(wide))
        else:
            self.keys, self.values = wide.to(DEVICE, dtype)

    @property
    def stored(self) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        return self.keys, self.values, self.key_scales, self.value_scales

    def poison(self, slot: int, position: int) -> None:
        """NaN wherever a row at `position` must not look."""
        age = (position - torch.arange(CAPACITY)) % CAPACITY
        unseen = (age >= min(CONTEXT, position + 1)).to(DEVICE)
        floats = self.stored[2:] if self.key_scales is not None else self.stored[:2]
        for tensor in floats:
            assert tensor is not None
            tensor[slot, :, unseen] = float("nan")

    def exact(self, q: Tensor, slot: int, position: int) -> Tensor:
        """[heads * D] float64."""
        past = [p % CAPACITY for p in range(max(0, position - CONTEXT + 1), position + 1)]
        k, v = self.keys[slot][:, past].double(), self.values[slot][:, past].double()
        if self.key_scales is not None and self.value_scales is not None:
            k, v = k * self.key_scales[slot][:, past, None], v * self.value_scales[slot][:, past, None]
        weights = torch.einsum("hd,hpd->hp", q.double(), k).softmax(dim=1)
        return torch.einsum("hp,hpd->hd", weights, v).flatten()


def attend(kernel: Get, q: Tensor, rings: Rings, slots: list[int], positions: list[int]) -> Tensor:
    run = kernel("ring_attention", "ring_attention")
    tuning = {} if run.__name__.endswith("reference") else SMALL
    where = torch.tensor(slots, device=DEVICE), torch.tensor(positions, device=DEVICE)
    out: Tensor = run(q, *rings.stored, *where, CONTEXT, **tuning)
    return out


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 2e-6), (torch.bfloat16, 2e-2), (torch.int8, 2e-6)])
@few
@given(positions=positions_of_rows)
def test_every_row_attends_to_its_own_context(
    kernel: Get, dtype: torch.dtype, bound: float, positions: list[int]
) -> None:
    rings = Rings(dtype)
    slots = list(range(SLOTS))[-len(positions) :]
    for slot, position in zip(slots, positions, strict=True):
        rings.poison(slot, position)
    q = torch.randn(len(positions), HEADS, D, generator=torch.Generator().manual_seed(1)) / 4
    q = q.to(DEVICE, torch.float32 if dtype == torch.int8 else dtype)
    out = attend(kernel, q, rings, slots, positions)
    for row, (slot, position) in enumerate(zip(slots, positions, strict=True)):
        if position < 0:
            assert not out[row].any()
        else:
            assert (out[row].double() - rings.exact(q[row], slot, position)).abs().max() < bound


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int8])
def test_a_row_is_bit_for_bit_the_same_alone_and_in_a_batch(kernel: Get, dtype: torch.dtype) -> None:
    rings = Rings(dtype)
    q = torch.randn(5, HEADS, D, generator=torch.Generator().manual_seed(1)).to(DEVICE)
    slots, positions = [2, 0, 1, 2, 2], [100, 3, -1, 101, 99]
    together = attend(kernel, q, rings, slots, positions)
    for row in range(5):
        alone = attend(kernel, q[[row]], rings, [slots[row]], [positions[row]])
        assert torch.equal(together[row], alone[0])


def test_few_rows_have_short_splits_and_many_rows_long_ones() -> None:
    moshi, mimi = [split_places(32 * rows, 3072) for rows in (16, 64, 192)], split_places(8 * 192, 250)
    assert (moshi, mimi) == ([128, 512, 512], 64)
    assert split_places(1, 40) == 64, "one split where a ring is shorter than any"


@pytest.mark.parametrize("ring", [torch.float32, torch.bfloat16, torch.int8])
@few
@given(positions=positions_of_rows)
def test_queries_are_turned_and_keys_and_values_go_to_their_places(
    kernel: Get, ring: torch.dtype, positions: list[int]
) -> None:
    rows = len(positions)
    dtype = torch.bfloat16 if ring == torch.bfloat16 else torch.float32
    qkv = torch.randn(rows, 3, HEADS, D, generator=torch.Generator().manual_seed(2)).to(DEVICE, dtype)
    turns = Rope(D, 10000.0, DEVICE).rotations(torch.tensor(positions, device=DEVICE).clamp(min=0))
    rotations = torch.stack((turns / 4, turns), dim=1)
    slots = torch.arange(rows, device=DEVICE)
    where = slots, torch.tensor(positions, device=DEVICE)
    stored = _empty(rows, ring)
    full = [x for x in stored if x is not None]
    q = kernel("ring_attention", "turn_and_write")(qkv, rotations, *where, *stored)
    expected_q, expected_k = rotate(qkv[:, :2], rotations).unbind(1)
    assert (q - expected_q).abs().max() <= (2e-2 if dtype == torch.bfloat16 else 1e-6)
    for row, position in enumerate(positions):
        if position < 0:
            assert not any(x[row].any() for x in full)
            continue
        for new, codes, scales in ((expected_k, stored[0], stored[2]), (qkv[:, 2], stored[1], stored[3])):
            assert codes is not None
            written = codes[row, :, position % CAPACITY].float()
            if scales is not None:
                written *= scales[row, :, position % CAPACITY, None]
            assert (written - new[row]).abs().max() < {torch.int8: 0.03, torch.bfloat16: 4e-2}.get(ring, 1e-6)
            assert int(codes[row].abs().amax(dim=(0, 2)).bool().sum()) == 1


def _empty(slots: int, ring: torch.dtype) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    keys, values = (torch.zeros(slots, HEADS, CAPACITY, D, dtype=ring, device=DEVICE) for _ in range(2))
    if ring != torch.int8:
        return keys, values, None, None
    key_scales, value_scales = (torch.zeros(slots, HEADS, CAPACITY, device=DEVICE) for _ in range(2))
    return keys, values, key_scales, value_scales


def test_eight_bits_are_the_plain_paths_bit_for_bit(kernel: Get) -> None:
    qkv = torch.randn(4, 3, HEADS, D, generator=torch.Generator().manual_seed(3)).to(DEVICE)
    qkv[1, 2] = 0  # a vector of zeros has a scale, too
    ones = torch.ones(1, 2, 1, D // 2, dtype=torch.complex64, device=DEVICE).expand(4, -1, -1, -1)
    where = torch.arange(4, device=DEVICE), torch.tensor([0, 7, CAPACITY, 99], device=DEVICE)
    stored = _empty(4, torch.int8)
    kernel("ring_attention", "turn_and_write")(qkv, ones, *where, *stored)
    keys, values, key_scales, value_scales = stored
    for codes, scales, new in ((keys, key_scales, qkv[:, 1]), (values, value_scales, qkv[:, 2])):
        assert scales is not None
        expected = int8_codes(new)
        at = where[0], slice(None), where[1] % CAPACITY
        assert torch.equal(codes[at], expected[0])
        assert torch.equal(scales[at], expected[1])

"""The two ways to read the rings of keys and values."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from moshi_cluster.models.mimi.attention import MaskedAttention, MimiKvCache, SlotBySlotAttention
from tests.models.mimi import tiny


def frame_of_noise(rows: int, generator: torch.Generator) -> list[Tensor]:
    """Queries, keys and values of one frame: [rows, 2, heads, head_width]."""
    config = tiny.config()
    shape = (rows, config.positions_per_frame, config.heads, config.head_width)
    return [torch.randn(shape, generator=generator) for _ in range(3)]


def expected(queries: Tensor, keys: Sequence[Tensor], values: Sequence[Tensor]) -> Tensor:
    """The closed form: query q of the frame that starts at p0 sees max(q - context + 1, p0 + T - context) <= p <= q."""
    context, new = tiny.config().context, queries.shape[0]
    start = len(keys) - new
    rows = []
    for index, query in enumerate(queries):
        q = start + index
        first = max(0, q - context + 1, start + new - context)
        seen_keys, seen_values = torch.stack(keys[first : q + 1], 1), torch.stack(values[first : q + 1], 1)
        scores = (seen_keys @ query[:, :, None])[:, :, 0] / query.shape[-1] ** 0.5
        rows.append((scores.softmax(dim=1)[:, None] @ seen_values)[:, 0])
    return torch.stack(rows)


def test_both_ways_match_the_closed_form_past_the_wrap() -> None:
    """Slot 1 starts five frames after slot 0; the slot in between is never used."""
    config, generator, layer = tiny.config(), torch.Generator().manual_seed(0), 1
    kinds = {kind: MimiKvCache(config, 3, torch.device("cpu")) for kind in (SlotBySlotAttention, MaskedAttention)}
    keys: dict[int, list[Tensor]] = {0: [], 2: []}
    values: dict[int, list[Tensor]] = {0: [], 2: []}
    for frame in range(2 * config.context // config.positions_per_frame + 3):
        slots = [2, 0] if frame >= 5 else [0]
        q, k, v = frame_of_noise(len(slots), generator)
        starts = [len(keys[slot]) for slot in slots]
        for row, slot in enumerate(slots):
            keys[slot] += k[row]
            values[slot] += v[row]
        for kind, rings in kinds.items():
            seen = kind(rings, slots, starts)(layer, q, k, v)
            for row, slot in enumerate(slots):
                torch.testing.assert_close(seen[row], expected(q[row], keys[slot], values[slot]), atol=1e-5, rtol=0)

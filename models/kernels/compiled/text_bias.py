"""Text bias in Triton: a copy of the logits, in which one program a row changes those that its session asks for."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor


def text_bias(
    logits: Tensor,
    spoken: Tensor,
    counts: Tensor,
    remembered: Tensor,
    penalties: Tensor,
    paddings: Tensor,
    padding_id: int,
) -> Tensor:
    rows, vocabulary = logits.shape
    places = spoken.shape[1]
    out = logits.to(torch.float32, copy=True)
    settings = spoken, counts, remembered, penalties, paddings, padding_id, spoken.stride(0)
    text_bias_kernel[(rows,)](logits, out, *settings, vocabulary, places, triton.next_power_of_2(places), num_warps=1)
    return out


@triton.jit
def text_bias_kernel(
    logits, out, spoken, counts, remembered, penalties, paddings, padding_id, spoken_stride,
    VOCABULARY: tl.constexpr, PLACES: tl.constexpr, PADDED: tl.constexpr,
):  # fmt: skip
    """Reads the logits and writes the copy: a token that was said twice gets the same value twice."""
    row = tl.program_id(0).to(tl.int64)
    count = tl.load(counts + row)
    place = tl.arange(0, PADDED)
    # Unused places of a ring that is not full yet count as the oldest. A remainder takes its sign from the dividend.
    age = (count - 1 - place + 2 * PLACES) % PLACES
    counted = (place < PLACES) & (age < tl.minimum(count, tl.load(remembered + row)))
    token = tl.load(spoken + row * spoken_stride + place, mask=counted, other=0)
    counted = counted & (token < VOCABULARY)
    x = tl.load(logits + row * VOCABULARY + token, mask=counted, other=0.0).to(tl.float32)
    penalty = tl.load(penalties + row).to(tl.float32)
    held_back = tl.where(x < 0, x * penalty, tl.math.div_rn(x, penalty))
    tl.store(out + row * VOCABULARY + token, held_back, mask=counted)
    # The padding token says nothing, so it is never among those above.
    padding = tl.load(logits + row * VOCABULARY + padding_id).to(tl.float32)
    tl.store(out + row * VOCABULARY + padding_id, padding + tl.load(paddings + row).to(tl.float32))

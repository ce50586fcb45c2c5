"""Attention of the Depth Transformer: a handful of keys, written by the steps of the same frame."""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Tensor

from moshi_cluster.models.kernels.operator import operator


def depth_attention_reference(qkv: Tensor, buffer: Tensor, step: int) -> Tensor:
    """Writes one step's queries, keys and values and attends to those so far: [N, heads * head_dim] in qkv's type.

    qkv: [N, 3, heads, head_dim], queries not scaled yet; buffer: float32 [N, 3, steps, heads, head_dim].

    Written out: as fast as torch's fused kernel on CPU for so few keys, and, unlike it, not a bit of a row's result
    depends on the rows beside it. For that the rows come first: the order of a sum over the first axis goes by the
    length of the others.
    """
    torch.mul(qkv, _scales(qkv.shape[-1], qkv.device), out=buffer.select(2, step))
    if step == 0:  # softmax over one key
        return buffer[:, 2, 0].flatten(1).to(qkv.dtype, copy=True)
    queries, keys, values = buffer.unbind(1)
    past = step + 1
    scores = (keys.narrow(1, 0, past) * queries.narrow(1, step, 1)).sum(dim=-1, keepdim=True)
    return (values.narrow(1, 0, past) * scores.softmax(dim=1)).sum(dim=1).flatten(1).to(qkv.dtype)


@cache
def _scales(head_dim: int, device: torch.device) -> Tensor:
    """Of queries, keys and values: [3, 1, 1]."""
    return torch.tensor([1 / math.sqrt(head_dim), 1, 1], device=device)[:, None, None]


depth_attention = operator(
    depth_attention_reference,
    lambda qkv, buffer, step: torch.empty_like(qkv[:, 0].flatten(1)),
    mutates=["buffer"],
)

"""Choice of a token per row: top-k by the row's own k, counter noise, forced tokens (docs/model.md 3.3)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from moshi_cluster.models.kernels.noise import gumbel, stream_keys_on_device
from moshi_cluster.models.kernels.operator import operator
from moshi_cluster.models.sampling import MOST_TOP_K


def choose_reference(
    logits: Tensor,
    seeds: Tensor,
    calls: Tensor,
    temperatures: Tensor,
    top_ks: Tensor,
    forced: Tensor,
    stream: int,
) -> Tensor:
    """logits: [R, vocabulary] -> the rows' forced tokens where at least 0, else tokens drawn from them: int64 [R].

    The argmax of logits + temperature * Gumbel noise among the tokens not below the row's k-th, the first of equals; so
    temperature 0 is greedy. seeds, calls, top_ks, forced: int64 [R]; temperatures: float64 [R].
    """
    wide = logits.float()
    vocabulary = wide.shape[1]
    largest = wide.topk(min(MOST_TOP_K, vocabulary), dim=1).values
    last = largest.gather(1, top_ks.clamp(1, largest.shape[1])[:, None] - 1)
    noise = gumbel(stream_keys_on_device(seeds, calls, stream), torch.arange(vocabulary, device=wide.device))
    score = noise.mul_(temperatures[:, None]).add_(wide).masked_fill_(wide < last, -math.inf)
    return torch.where(forced >= 0, forced, score.argmax(dim=1))


choose = operator(choose_reference, lambda logits, *rest: logits.new_empty(len(logits), dtype=torch.int64))

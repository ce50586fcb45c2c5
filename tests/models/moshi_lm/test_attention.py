"""At published widths and on several threads, too, no bit of a row depends on its neighbours: kernels go by shape."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from moshi_cluster.models.moshi_lm import LmConfig, MoshiLm
from moshi_cluster.models.moshi_lm.kv_cache import KvCache
from tests.models.moshi_lm.random_model import MOSHI_LIKE, random_tensors

ROWS = (1, 2, 3, 8, 33)
DTYPES = [torch.float32, torch.bfloat16]
WIDE = MOSHI_LIKE | {
    "dim": 512,
    "num_heads": 8,
    "num_layers": 1,
    "n_q": 16,
    "dep_q": 8,
    "card": 2048,
    "delays": [0] + [0, *[1] * 7] * 2,
    "depformer_dim": 256,
    "depformer_num_heads": 4,
    "depformer_dim_feedforward": 1056,
}


@pytest.fixture(autouse=True)
def several_threads() -> Iterator[None]:
    """Shared work is where kernels start to sum in another order."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("length", [1, 8, 63, 64, 65, 200, 250])
def test_a_row_attends_alike_in_every_batch(dtype: torch.dtype, length: int) -> None:
    heads, head_dim = 8, 64
    cache = KvCache(1, max(ROWS) + 3, heads, head_dim, 250, dtype, "cpu")
    cache.keys[0].copy_(normal(*cache.keys[0].shape))
    cache.values[0].copy_(normal(*cache.values[0].shape))
    q, k, v = normal(3, max(ROWS), heads, head_dim).to(dtype)
    attended = [
        cache.step(range(3, 3 + rows), [length - 1] * rows).attend(0, q[:rows] / 8, k[:rows], v[:rows])[0]
        for rows in ROWS
    ]
    scattered = cache.step([3, 20, 7], [length - 1, 2, 249]).attend(0, q[:3] / 8, k[:3], v[:3])[0]
    for other in (*attended[1:], scattered):
        assert torch.equal(other, attended[0])


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_row_gets_the_same_logits_in_every_batch(dtype: torch.dtype) -> None:
    lm = MoshiLm.from_tensors(random_tensors(WIDE), LmConfig.from_dict(WIDE), dtype)
    tokens = torch.randint(40, (max(ROWS), lm.config.streams), generator=torch.Generator().manual_seed(0))
    logits = []
    for rows in ROWS:
        cache, seen = lm.kv_cache(rows), []

        def largest(codebook: int, codebook_logits: Tensor, seen: list[Tensor] = seen) -> Tensor:
            seen.append(codebook_logits[0])
            return codebook_logits.argmax(dim=-1)

        hidden = lm.hidden(tokens[:rows], torch.zeros(rows, dtype=torch.int64), cache.step(range(rows), [0] * rows))
        text = lm.text_logits(hidden)
        lm.audio(hidden, text.argmax(dim=-1), largest)
        logits.append(torch.cat([text[0], *seen]))
    for other in logits[1:]:
        assert torch.equal(other, logits[0])

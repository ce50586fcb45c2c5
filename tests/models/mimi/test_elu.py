"""ELU: what it is, and that its bits do not depend on where a session stands in the batch."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from moshi_cluster.models.mimi.elu import elu


def test_it_is_torchs_own_to_the_last_bits() -> None:
    x = torch.linspace(-30, 30, 64 * 1024).view(1, 1024, 64)
    torch.testing.assert_close(elu(x), F.elu(x), atol=1.2e-7, rtol=0)


def test_extremes_stay_what_they_are() -> None:
    x = torch.tensor([0.0, -0.0, float("inf"), float("-inf"), 1e30, -1e30]).repeat(32).view(1, 3, 64)
    assert torch.equal(elu(x), F.elu(x))
    assert elu(torch.full((1, 1, 64), float("nan"))).isnan().all()


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("steps", [1, 30, 1920])
def test_a_session_gets_what_it_gets_alone(steps: int, threads: int) -> None:
    x = torch.randn(37, steps, 64, generator=torch.Generator().manual_seed(0))
    alone = torch.cat([elu(row) for row in x.split(1)])
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for rows in (1, 2, 5, 37):
            assert torch.equal(elu(x[:rows]), alone[:rows])
    finally:
        torch.set_num_threads(before)

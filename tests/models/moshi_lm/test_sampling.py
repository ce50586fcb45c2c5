"""Draws are fair, repeatable, and each row's own business."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from moshi_cluster.models.kernels.noise import gumbel, stream_keys
from moshi_cluster.models.moshi_lm.sampling import Draws
from moshi_cluster.models.sampling import Sampling

FROZEN_KEYS = [7138415436909018950, 1904761073365061131, -296188099132170055]
FROZEN_GUMBEL = [1.271100889672594, -0.7844653216562695, -0.009712979258294972]
# 99.99 % point of chi-square with d degrees of freedom is below d + 4.1 sqrt(2 d) + 9 for every d here.
DRAWS = 20_000


def chi_square_bound(degrees: int) -> float:
    return float(degrees + 4.1 * (2 * degrees) ** 0.5 + 9)


def text_draws(logits: Tensor, sampling: Sampling, calls: int) -> Tensor:
    """Logits [V] drawn from at many calls of one session -> tokens [calls]."""
    return Draws([sampling] * calls, range(calls), 1, "cpu").text(logits.expand(calls, -1))


def chi_square(tokens: Tensor, probabilities: Tensor) -> float:
    expected = probabilities * len(tokens)
    counts = torch.bincount(tokens, minlength=len(probabilities)).double()
    assert counts[expected == 0].sum() == 0
    possible = expected > 0
    return float(((counts - expected).square() / expected)[possible].sum())


@pytest.mark.parametrize(("temperature", "top_k"), [(1.0, 500), (0.7, 10), (1.5, 40)])
def test_draws_follow_softmax_over_the_top_k(temperature: float, top_k: int) -> None:
    logits = torch.randn(60, generator=torch.Generator().manual_seed(3))
    kept = torch.full_like(logits, float("-inf"))
    largest = logits.topk(min(top_k, len(logits))).indices
    kept[largest] = logits[largest]
    tokens = text_draws(logits, Sampling(temperature, top_k, seed=11), DRAWS)
    probabilities = torch.softmax(kept.double() / temperature, dim=0)
    assert chi_square(tokens, probabilities) < chi_square_bound(len(largest) - 1)


def test_noise_is_uniform_over_seeds_calls_streams_and_tokens() -> None:
    keys = stream_keys(range(40), [7] * 40, 5, "cpu").flatten()
    uniform = torch.exp(-torch.exp(-gumbel(keys, torch.arange(250).expand(len(keys), -1)))).flatten()
    cells = torch.bincount((uniform * 100).long(), minlength=100).double()
    expected = len(uniform) / 100
    assert float(((cells - expected).square() / expected).sum()) < chi_square_bound(99)


def test_noise_of_neighbouring_calls_streams_and_seeds_is_uncorrelated() -> None:
    tokens = torch.arange(4000)[None]
    seeds, calls = [5, 6, 5], [9, 9, 10]
    keys = torch.cat([stream_keys([s], [c], 2, "cpu").flatten() for s, c in zip(seeds, calls, strict=True)])
    correlation = torch.corrcoef(torch.cat([gumbel(keys[i : i + 1], tokens) for i in range(len(keys))]))
    assert (correlation - torch.eye(len(keys))).abs().max() < 0.07


def test_the_noise_never_changes() -> None:
    """A session restored by a newer release must go on with the same noise."""
    keys = stream_keys([42, -1, 1 << 64], [0, 3, 4500], 3, "cpu")
    assert keys[:, 0].tolist() == FROZEN_KEYS
    assert gumbel(keys[:1, 0], torch.tensor([[0, 2047, 32000]]))[0].tolist() == pytest.approx(FROZEN_GUMBEL)


def test_temperature_zero_takes_the_largest() -> None:
    logits = torch.randn(50, 30, generator=torch.Generator().manual_seed(0))
    assert torch.equal(Draws([Sampling(0.0)] * 50, range(50), 1, "cpu").text(logits), logits.argmax(1))


def test_top_1_takes_the_largest_at_any_temperature() -> None:
    logits = torch.randn(300, generator=torch.Generator().manual_seed(0))
    assert set(text_draws(logits, Sampling(5.0, 1), 200).tolist()) == {int(logits.argmax())}


def test_all_ties_with_the_kth_stay_in() -> None:
    logits = torch.cat([torch.tensor([2.0]), torch.ones(100), torch.zeros(100)])
    drawn = set(text_draws(logits, Sampling(1.0, 2), 5000).tolist())
    assert drawn == set(range(101))


def test_a_greedy_row_takes_the_first_of_equals_whoever_draws_beside_it() -> None:
    logits = torch.randn(12, 4000, generator=torch.Generator().manual_seed(1)).mul(4).round().clamp(max=12)
    settings = [Sampling(0.0, audio_temperature=0.0), *[Sampling(0.9, audio_temperature=0.9)] * 11]
    ties = (logits[0] == logits[0].max()).nonzero()
    assert len(ties) > 1, "nothing to choose from"
    together = Draws(settings, range(12), 3, "cpu")
    assert together.text(logits)[0] == together.audio(0, logits)[0] == ties[0]


samplings = st.builds(
    Sampling,
    st.sampled_from([0.0, 0.5, 1.0, 2.0]),
    st.sampled_from([1, 3, 40, 500]),
    st.sampled_from([0.0, 0.8, 1.3]),
    st.sampled_from([1, 5, 250, 500]),
    st.integers(0, 2**64 - 1),
)


@settings(max_examples=60)
@given(st.lists(st.tuples(samplings, st.integers(0, 10**6)), min_size=1, max_size=6), st.booleans())
def test_a_row_draws_the_same_alone_and_beside_others(rows: list[tuple[Sampling, int]], ties: bool) -> None:
    logits = torch.randn(len(rows), 300, generator=torch.Generator().manual_seed(len(rows)))
    if ties:
        logits = logits.round()
    together = Draws([s for s, _ in rows], [c for _, c in rows], 3, "cpu")
    text, audio = together.text(logits), together.audio(1, logits)
    for row, (sampling, call) in enumerate(rows):
        single = Draws([sampling], [call], 3, "cpu")
        assert single.text(logits[row : row + 1]).tolist() == text[row : row + 1].tolist()
        assert single.audio(1, logits[row : row + 1]).tolist() == audio[row : row + 1].tolist()

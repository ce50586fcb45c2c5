"""Tokens are chosen as the plain path chooses them: the same noise, the same set, the same of equals."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from moshi_cluster.models.moshi_lm.sampling import Draws
from moshi_cluster.models.sampling import Sampling
from tests.models.kernels.conftest import DEVICE, HAS_CUDA, Kernel

Get = Callable[[str, str], Kernel]
few = settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
samplings = st.builds(
    Sampling,
    text_temperature=st.sampled_from([0.0, 0.7, 3.0]),
    text_top_k=st.sampled_from([1, 3, 25, 500]),
    seed=st.sampled_from([0, 1, 2**63 - 1, 2**63, 2**64 - 1]),
)
vocabularies = st.sampled_from([24, 64, 130, *([2048, 32_000] if HAS_CUDA else [])])
rows = st.lists(st.tuples(samplings, st.sampled_from([0, 1, 44_999])), min_size=1, max_size=3)


def chosen(
    kernel: Get, logits: Tensor, drawn: list[tuple[Sampling, int]], forced: list[int], stream: int = 0
) -> list[int]:
    run = kernel("choose", "choose")
    tuning = {} if run.__name__.endswith("reference") else {"tile": 64}
    seeds = [s.seed - (1 << 64) if s.seed >> 63 else s.seed for s, _ in drawn]
    tokens: Tensor = run(
        logits.to(DEVICE),
        torch.tensor(seeds, device=DEVICE),
        torch.tensor([call for _, call in drawn], device=DEVICE),
        torch.tensor([s.text_temperature for s, _ in drawn], dtype=torch.float64, device=DEVICE),
        torch.tensor([s.text_top_k for s, _ in drawn], device=DEVICE),
        torch.tensor(forced, device=DEVICE),
        stream,
        **tuning,
    )
    return tokens.tolist()


def logits_of(count: int, vocabulary: int, seed: int, ties: bool) -> Tensor:
    logits = 2 * torch.randn(count, vocabulary, generator=torch.Generator().manual_seed(seed))
    return logits.round() if ties else logits


@few
@given(rows, vocabularies, st.integers(0, 99), st.booleans(), st.booleans())
def test_the_choice_is_the_plain_paths(
    kernel: Get, drawn: list[tuple[Sampling, int]], vocabulary: int, seed: int, ties: bool, bf16: bool
) -> None:
    logits = logits_of(len(drawn), vocabulary, seed, ties)
    logits = logits.bfloat16() if bf16 else logits
    samplings, calls = zip(*drawn, strict=True)
    expected = Draws(samplings, calls, 1, "cpu").text(logits)
    assert chosen(kernel, logits, drawn, [-1] * len(drawn)) == expected.tolist()


@pytest.mark.parametrize("stream", [1, 3])
def test_audio_streams_have_noise_of_their_own(kernel: Get, stream: int) -> None:
    samplings = [Sampling(1.0, 25, 1.0, 25, seed=seed) for seed in range(3)]
    logits = logits_of(3, 40, 0, ties=False)
    expected = Draws(samplings, range(3), 4, "cpu").audio(stream - 1, logits)
    drawn = [(sampling, call) for call, sampling in enumerate(samplings)]
    assert chosen(kernel, logits, drawn, [-1] * 3, stream) == expected.tolist()
    assert chosen(kernel, logits, drawn, [-1] * 3, stream + 1) != expected.tolist()


def test_a_forced_token_is_taken_as_it_is(kernel: Get) -> None:
    logits = logits_of(3, 40, 1, ties=False)
    drawn = [(Sampling(seed=seed), 5) for seed in range(3)]
    free = chosen(kernel, logits, drawn, [-1, -1, -1])
    assert chosen(kernel, logits, drawn, [39, -1, 0]) == [39, free[1], 0]


def test_positive_and_negative_zero_tie(kernel: Get) -> None:
    logits = torch.tensor([[-1.0, 0.0, -0.0, -1.0], [-1.0, -0.0, 0.0, -1.0]])
    drawn = [(Sampling(text_temperature=0.0, text_top_k=1), 0)] * 2
    assert chosen(kernel, logits, drawn, [-1, -1]) == [1, 1]


@pytest.mark.parametrize("value", [float("nan"), float("-inf"), float("inf")])
def test_a_broken_row_gets_a_token_of_the_vocabulary_and_disturbs_nobody(kernel: Get, value: float) -> None:
    logits = logits_of(2, 40, 2, ties=False)
    drawn = [(Sampling(seed=1), 3)] * 2
    expected = chosen(kernel, logits, drawn, [-1, -1])[1]
    logits[0] = value
    broken, other = chosen(kernel, logits, drawn, [-1, -1])
    assert 0 <= broken < 40 and other == expected

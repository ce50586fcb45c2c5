"""The rows' text bias is the plain path's, bit for bit."""

from __future__ import annotations

from collections.abc import Callable

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from moshi_cluster.models.moshi_lm import LmConfig, Sampling
from moshi_cluster.models.moshi_lm.text_bias import SpokenText, biased
from tests.models.kernels.conftest import DEVICE, Kernel
from tests.models.moshi_lm.random_model import MOSHI_LIKE

CONFIG = LmConfig.from_dict(MOSHI_LIKE)
VOCABULARY, PLACES = 30, 7  # fewer than the tokens that may be said, and a ring that is soon full
Get = Callable[[str, str], Kernel]
biases = st.builds(
    Sampling,
    text_temperature=st.sampled_from([0.5, 0.7, 1.0]),
    padding_multiplier=st.sampled_from([-4.0, 0.0, 2.3]),
    repetition_penalty=st.sampled_from([1.0, 1.1, 2.0]),
    repetition_penalty_context=st.integers(0, PLACES),
)
texts = st.lists(st.integers(0, CONFIG.text_card), max_size=20)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.tuples(biases, texts), min_size=1, max_size=5), bf16=st.booleans())
def test_every_row_gets_what_its_session_asks_for(
    kernel: Get, rows: list[tuple[Sampling, list[int]]], bf16: bool
) -> None:
    logits = 3 * torch.randn(len(rows), VOCABULARY, generator=torch.Generator().manual_seed(len(rows)))
    logits = logits.bfloat16() if bf16 else logits
    sessions, rings, counts = [], torch.zeros(len(rows), PLACES, dtype=torch.int64), []
    for row, (sampling, tokens) in enumerate(rows):
        sessions.append(SpokenText(sampling, CONFIG))
        sessions[-1].extend(tokens)
        said = [token for token in tokens if token not in (3, 0, CONFIG.text_card)]
        for place, token in enumerate(said):
            rings[row, place % PLACES] = token
        counts.append(len(said))
    given_logits = logits.to(DEVICE)
    out = kernel("text_bias", "text_bias")(
        given_logits,
        rings.to(DEVICE),
        torch.tensor(counts, device=DEVICE),
        torch.tensor([session.remembered for session in sessions], device=DEVICE),
        torch.tensor([s.repetition_penalty for s, _ in rows], dtype=torch.float64, device=DEVICE),
        torch.tensor([s.padding_multiplier * s.text_temperature for s, _ in rows], dtype=torch.float64, device=DEVICE),
        CONFIG.existing_text_padding_id,
    )
    assert torch.equal(given_logits.cpu(), logits)
    assert torch.equal(out.cpu(), biased(logits, sessions).float())

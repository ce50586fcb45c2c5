"""The static step with Triton's kernels in it, in their interpreter on a CPU: what it hands them, they can take."""

from __future__ import annotations

import importlib.util

import pytest
import torch

from moshi_cluster.models.moshi_lm import Sampling
from moshi_cluster.models.moshi_lm.static import StaticGenerator, kv_rings, step
from tests.models.moshi_lm.conversation import alone, open_ready, speak
from tests.models.moshi_lm.random_model import random_lm

FRAMES = 4
SAMPLING = Sampling(0.7, 9, 0.8, 20, 3, padding_multiplier=-1, repetition_penalty=1.7, repetition_penalty_context=9)


@pytest.mark.skipif(not importlib.util.find_spec("triton"), reason="no triton here: pip install triton")
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a device to run them on: pytest -m gpu")
def test_it_says_what_the_plain_generator_says(monkeypatch: pytest.MonkeyPatch) -> None:
    from moshi_cluster.models.kernels.compiled import choose, ring_attention, text_bias

    for module, name, kernel in (
        (kv_rings, "turn_and_write", ring_attention.turn_and_write),
        (kv_rings, "ring_attention", ring_attention.ring_attention),
        (step, "choose", choose.choose),
        (step, "text_bias", text_bias.text_bias),
    ):
        monkeypatch.setattr(module, name, kernel)
    lm = random_lm()
    generator = StaticGenerator(lm, 2, buckets=(2,), spare=3)
    open_ready(generator, 1, SAMPLING)
    assert speak(generator, lm.config, 1, 1, range(FRAMES)).tolist() == alone(lm, SAMPLING, 1, FRAMES).tolist()

"""The differentiable model is the product's model: the same logits, the same tokens."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from moshi_cluster.models.moshi_lm import LmConfig, MoshiLm
from moshi_cluster.models.moshi_lm.generator import Generator
from moshi_cluster.models.moshi_lm.teacher import teacher_forced
from moshi_cluster.models.sampling import Sampling
from training.lm.export import build, published
from training.lm.model import TrainableLm
from training.lm.sizes import lm_config
from training.lm.streams import depth_tokens, lay_out

GREEDY = Sampling(text_temperature=0.0, audio_temperature=0.0)


def small(context: int = 40) -> dict[str, Any]:
    """The demo model's structure, narrower."""
    narrow = {"dim": 32, "num_heads": 2, "num_layers": 3, "depformer_dim": 16, "depformer_dim_feedforward": 66}
    return lm_config(text_card=24, card=20) | narrow | {"depformer_num_layers": 2, "context": context}


def models(config: dict[str, Any]) -> tuple[TrainableLm, MoshiLm]:
    torch.manual_seed(1)
    trained = build(config).eval()
    for name, parameter in trained.named_parameters():
        if name.endswith("alpha"):  # ones would hide a norm in the wrong place
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
    return trained, MoshiLm.from_tensors(published(trained), LmConfig.from_dict(config), torch.float32)


def talk(config: LmConfig, frames: int) -> Tensor:
    """Random tokens of a session, int64 [T, 1 + n_q]."""
    generator = torch.Generator().manual_seed(2)
    text = torch.randint(config.text_card, (frames, 1), generator=generator)
    return torch.cat((text, torch.randint(config.card, (frames, config.n_q), generator=generator)), dim=1)


@pytest.mark.parametrize("context", [40, 10], ids=["session within the context", "session longer than the context"])
def test_logits_are_those_of_the_product(context: int) -> None:
    trained, product = models(small(context))
    inputs, targets = lay_out(talk(product.config, 30), product.config)
    raw = depth_tokens(targets)
    expected = teacher_forced(product, inputs, torch.cat((raw, targets[:, -1:].clamp(min=0)), dim=1))
    with torch.inference_mode():
        hidden, _ = trained.hidden(inputs[None])
        text, audio = trained.text_logits(hidden[0]), trained.audio_logits(hidden[0], raw)
    torch.testing.assert_close(hidden[0], expected.hidden, atol=2e-5, rtol=1e-4)
    torch.testing.assert_close(text, expected.text_logits, atol=2e-5, rtol=1e-4)
    torch.testing.assert_close(audio.transpose(0, 1), expected.audio_logits, atol=2e-5, rtol=1e-4)


def test_what_the_generator_says_is_what_training_would_call_most_likely() -> None:
    """Greedy tokens of a conversation, laid out as a training session, are the arg-max of its own logits."""
    trained, product = models(small())
    config, frames = product.config, 30
    user = talk(config, frames)[:, config.generated :]
    said = _conversation(product, user)
    inputs, targets = lay_out(torch.cat((said, user), dim=1), config)
    with torch.inference_mode():
        hidden, _ = trained.hidden(inputs[None])
        text = trained.text_logits(hidden[0]).argmax(dim=-1)
        audio = trained.audio_logits(hidden[0], depth_tokens(targets)).argmax(dim=-1).T
    calls = slice(config.max_delay, None)  # before, some targets belong to no frame
    assert torch.equal(text[calls], targets[calls, 0])
    assert torch.equal(audio[calls], targets[calls, 1:])


def _conversation(lm: MoshiLm, user: Tensor) -> Tensor:
    """user: int64 [T, user codebooks] -> text and own codes [T, generated]."""
    generator = Generator(lm, slots=1)
    generator.open(0, GREEDY)
    while generator.prefill(0, 64):
        pass
    replies = [generator.step([0], frame[None]) for frame in user]
    return torch.cat([torch.cat((reply.text[:, None], reply.audio), dim=1) for reply in replies])

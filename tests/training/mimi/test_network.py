"""What is trained is what runs."""

from __future__ import annotations

import pytest
import torch

from moshi_cluster.models.mimi import Mimi, MimiConfig
from moshi_cluster.tools.random_mimi import random_mimi
from tests.training.mimi.small import noise, small_config, small_network
from training.mimi.network import TrainableMimi
from training.mimi.sizes import demo_config

FRAMES = 21  # several times the context of the small codec


def trained_and_run(config: dict) -> tuple[TrainableMimi, Mimi]:  # type: ignore[type-arg]
    network = TrainableMimi(MimiConfig.from_dict(config))
    network.load_state_dict(random_mimi(config, seed=3))
    return network.eval(), Mimi.from_tensors(network.published(), network.config, network.config.codebooks)


@pytest.mark.parametrize("config", [small_config(), demo_config()], ids=["small", "demo"])
@torch.no_grad()
def test_the_running_codec_gives_the_same_codes_and_the_same_sound(config: dict) -> None:  # type: ignore[type-arg]
    network, mimi = trained_and_run(config)
    pcm = noise(2, FRAMES)
    output, quantized = network(pcm)
    codes = mimi.encode(pcm)
    assert torch.equal(quantized.codes.transpose(1, 2), codes)
    assert len(codes.unique()) > config["quantizer"]["bins"] // 2
    torch.testing.assert_close(mimi.decode(codes), output, atol=2e-5, rtol=0)


@torch.no_grad()
def test_the_running_codec_gives_the_same_latents() -> None:
    network, mimi = trained_and_run(demo_config())
    pcm = noise(2, FRAMES)
    torch.testing.assert_close(network.encode(pcm), mimi.latents(pcm), atol=2e-5, rtol=0)


def test_the_demo_codec_has_the_published_names_and_no_others() -> None:
    config = demo_config()
    network = TrainableMimi(MimiConfig.from_dict(config))
    shapes = {name: tensor.shape for name, tensor in network.published().items()}
    assert shapes == {name: tensor.shape for name, tensor in random_mimi(config, seed=1).items()}


def test_every_parameter_learns() -> None:
    network = small_network()
    network.train()
    output, quantized = network(noise(2, 6))
    (output.square().mean() + quantized.commitment).backward()
    still = [
        name for name, parameter in network.named_parameters() if parameter.grad is None or not parameter.grad.any()
    ]
    assert still == []


@torch.no_grad()
def test_no_frame_depends_on_a_later_one() -> None:
    network = small_network().eval()
    pcm = noise(1, 8)
    changed = torch.cat((pcm[:, : 5 * 1920], 1 - pcm[:, 5 * 1920 :]), dim=1)
    before, after = network.encode(pcm), network.encode(changed)
    assert torch.equal(before[:, :5], after[:, :5])
    assert not torch.allclose(before[:, 5:], after[:, 5:])


@torch.no_grad()
def test_half_precision_is_near_the_full_one() -> None:
    config = MimiConfig.from_dict(small_config())
    full, half = TrainableMimi(config), TrainableMimi(config, half=True)
    half.load_state_dict(full.state_dict())
    latents = full.encode(noise(2, 6))
    assert half.decode(latents).dtype == torch.float32
    difference = half.decode(latents) - full.decode(latents)
    assert 0 < difference.square().mean().sqrt() < 0.02 * full.decode(latents).std()

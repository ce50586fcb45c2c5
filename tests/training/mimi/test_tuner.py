"""The decoder learns; codes stay."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch

from moshi_cluster.audio.frame import FRAME_SAMPLES
from moshi_cluster.models.mimi import Mimi, MimiConfig
from tests.training.mimi.small import crops, noise, small_config, small_network, small_weights
from training.mimi.network import TrainableMimi
from training.mimi.tuner import Tuner, is_decoding
from training.mimi.utterances import PAST_FRAMES, UtteranceBatch

FRAMES = 10
RATE = 5e-3


def tuner(trained: dict[str, torch.Tensor]) -> Tuner:
    return Tuner(MimiConfig.from_dict(small_config()), trained)


def running(tensors: dict[str, torch.Tensor]) -> Mimi:
    config = MimiConfig.from_dict(small_config())
    return Mimi.from_tensors(tensors, config, config.codebooks)


def batch(mimi: Mimi, seed: int = 0) -> UtteranceBatch:
    sound = crops(3, PAST_FRAMES + FRAMES, seed).heard
    return UtteranceBatch(mimi.encode(sound).transpose(1, 2), sound[:, PAST_FRAMES * FRAME_SAMPLES :])


def test_the_loss_falls_and_no_tensor_that_encoding_uses_changes_by_a_bit() -> None:
    before = small_weights()
    mimi, taught = running(before), tuner(before)
    given = batch(mimi)
    losses = [taught.step(given, RATE)["loss"] for _ in range(25)]
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])

    after = taught.published()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert after.keys() == before.keys()
    assert moved == {name for name in before if is_decoding(name)}
    assert {name.split(".")[0] for name in moved} == {"upsample", "decoder_transformer", "decoder", "quantizer"}
    assert torch.equal(running(after).encode(noise(2, FRAMES)), mimi.encode(noise(2, FRAMES)))
    assert torch.equal(running(after).latents(noise(2, FRAMES)), mimi.latents(noise(2, FRAMES)))


@torch.no_grad()
def test_the_end_of_a_piece_sounds_as_in_a_call_that_the_past_belongs_to() -> None:
    trained = small_weights()
    mimi, taught = running(trained), tuner(trained)
    taught.network = full_precision(trained)
    codes = batch(mimi).codes
    whole = mimi.decode(codes.transpose(1, 2))
    torch.testing.assert_close(taught.decode(codes, FRAMES), whole[:, -FRAMES * FRAME_SAMPLES :], atol=2e-5, rtol=0)
    torch.testing.assert_close(taught.decode(codes, codes.shape[1]), whole, atol=2e-5, rtol=0)


def full_precision(trained: dict[str, torch.Tensor]) -> TrainableMimi:
    network = small_network()
    network.load_state_dict(trained)
    return network


def test_a_restored_tuner_goes_on_as_if_nothing_had_happened() -> None:
    trained = small_weights()
    given = batch(running(trained))
    first = tuner(trained)
    first.step(given, RATE)
    second = tuner(trained)
    second.restore(deepcopy(first.state()))  # as a file would
    losses = []
    for one in (first, second):
        torch.manual_seed(3)
        losses.append(one.step(given, RATE))
    assert losses[0] == losses[1]
    for name, tensor in first.published().items():
        assert torch.equal(tensor, second.published()[name]), name


@pytest.mark.parametrize(
    ("name", "decoding"),
    [
        ("decoder.model.0.conv.conv.weight", True),
        ("decoder_transformer.transformer.layers.0.norm1.weight", True),
        ("upsample.convtr.convtr.convtr.weight", True),
        ("quantizer.rvq_rest.output_proj.weight", True),
        ("quantizer.rvq_rest.input_proj.weight", False),
        ("quantizer.rvq_first.vq.layers.0._codebook.embedding_sum", False),
        ("encoder_transformer.transformer.layers.0.norm1.weight", False),
        ("downsample.conv.conv.conv.weight", False),
    ],
)
def test_what_decoding_alone_uses(name: str, decoding: bool) -> None:
    assert is_decoding(name) is decoding

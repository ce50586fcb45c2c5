"""Steps make things better, and only what should move moves."""

from __future__ import annotations

import torch

from moshi_cluster.models.mimi import Mimi, MimiConfig
from tests.training.mimi.small import crops, noise, small_config
from training.mimi.learner import Learner
from training.mimi.schedule import Phase

CODING = Phase(learning_rate=5e-3, codes_final=False, moshi_share=0.5)
DECODING = Phase(learning_rate=5e-3, codes_final=True, moshi_share=0.5)
FRAMES = 10


def learner() -> Learner:
    torch.manual_seed(0)
    return Learner(MimiConfig.from_dict(small_config()))


def codes_of(learner: Learner) -> torch.Tensor:
    network = learner.network
    return Mimi.from_tensors(network.published(), network.config, network.config.codebooks).encode(noise(2, FRAMES))


def test_steps_make_output_and_phones_better() -> None:
    taught = learner()
    losses = [taught.step(crops(2, FRAMES, seed=step % 2), CODING) for step in range(30)]
    for name, gain in (("mel", 0.5), ("semantic", 0.02), ("phones", 0.02)):
        early, late = (sum(row[name] for row in part) / len(part) for part in (losses[:8], losses[-8:]))
        assert late < early - gain, name


def test_when_codes_are_final_only_the_decoder_moves() -> None:
    taught = learner()
    for step in range(3):
        taught.step(crops(2, FRAMES, step), CODING)
    before, codes = taught.network.published(), codes_of(taught)
    for step in range(3):
        losses = taught.step(crops(2, FRAMES, step), DECODING)
    assert {"judges", "deceit", "features"} <= losses.keys()
    moved = {name for name, tensor in taught.network.published().items() if not torch.equal(tensor, before[name])}
    assert torch.equal(codes_of(taught), codes)
    assert all(name.startswith(("decoder", "upsample")) or ".output_proj." in name for name in moved)
    assert {name.split(".")[0] for name in moved} == {"decoder", "decoder_transformer", "upsample", "quantizer"}


def test_a_restored_learner_goes_on_as_if_nothing_had_happened() -> None:
    taught = learner()
    taught.step(crops(2, FRAMES), CODING)
    restored = learner()
    restored.restore(taught.state())
    losses = []
    for one in (taught, restored):
        torch.manual_seed(7)
        losses.append(one.step(crops(2, FRAMES, seed=1), CODING))
    assert losses[0] == losses[1]

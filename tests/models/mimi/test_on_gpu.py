"""Mimi's static steps on a device: golden codes, and a session recorded and eager, alone and in a batch.

On a CPU, where there is no device, the same checks run at the small size.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from benchmarks.offline.model_sizes import MODEL_SIZES
from moshi_cluster.models.accelerator import prepare_thread
from moshi_cluster.models.mimi import Mimi, MimiConfig
from moshi_cluster.models.mimi.static import StaticDecoder, StaticEncoder, static_decoder, static_encoder
from tests.models.mimi import tiny

HAS_CUDA = torch.cuda.is_available()
DEVICE = torch.device("cuda:0" if HAS_CUDA else "cpu")
CODEBOOKS, SLOTS, FRAMES = 8, 9, 5
CLOSE = 1e-4  # sums in another order
Half = StaticEncoder | StaticDecoder
pytestmark = [pytest.mark.gpu] if HAS_CUDA else []


@pytest.fixture(scope="module", params=["mimi-small", "mimi-published"])
def mimi(request: pytest.FixtureRequest) -> Mimi:
    if request.param == "mimi-published" and not HAS_CUDA:
        pytest.skip("no CUDA device here")
    prepare_thread(DEVICE)
    size = next(size for size in MODEL_SIZES if size.name == request.param)
    tensors = {name: tensor.to(DEVICE) for name, tensor in size.tensors(DEVICE).items()}
    return Mimi.from_tensors(tensors, MimiConfig.from_dict(size.config), CODEBOOKS, DEVICE)


def noise(mimi: Mimi, frame: int, caller: int) -> Tensor:
    """[1, samples]."""
    generator = torch.Generator().manual_seed(100 * caller + frame)
    return torch.randn(1, mimi.config.frame_samples, generator=generator) / 8


def heard(mimi: Mimi, slots: list[int], recorded: bool) -> tuple[Tensor, Tensor]:
    """Codes and samples of the session in the last of the slots, frame by frame."""
    made: list[Callable[..., Half]] = [static_encoder, static_decoder]
    encoder, decoder = (half(mimi, SLOTS, [16]) for half in made)
    for half in (encoder, decoder):
        if recorded:
            half.warm()
    codes, samples = [], []
    for frame in range(FRAMES):
        pcm = torch.cat([noise(mimi, frame, caller) for caller in reversed(range(len(slots)))])
        codes.append(encoder.step(slots, pcm))
        samples.append(decoder.step(slots, codes[-1])[-1])
    return torch.stack([each[-1] for each in codes]), torch.stack(samples)


def test_recorded_is_eager_and_alone_is_the_last_of_a_batch(mimi: Mimi) -> None:
    codes, samples = heard(mimi, [3], recorded=True)
    for slots, recorded in (([3], False), ([0, 8, 1, 5, 3], True)):
        other_codes, other_samples = heard(mimi, slots, recorded)
        assert torch.equal(codes, other_codes) and torch.equal(samples, other_samples)


@pytest.mark.parity
def test_a_recording_gives_the_golden_codes() -> None:
    prepare_thread(DEVICE)
    tensors = {name: tensor.to(DEVICE) for name, tensor in tiny.tensors().items()}
    encoder = static_encoder(Mimi.from_tensors(tensors, tiny.config(), CODEBOOKS, DEVICE), 2, [2])
    encoder.warm()
    codes = [encoder.step([1], frame) for frame in tiny.frames(tiny.voice("user_a"))]
    assert torch.equal(torch.cat(codes).T[None], tiny.reference("outputs")["codes_stream"][:, :CODEBOOKS])

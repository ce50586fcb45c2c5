"""At the published widths products take other kernels than in the small codec: rows must stay independent there too."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from moshi_cluster.models.mimi import Mimi, MimiConfig
from moshi_cluster.models.mimi.weights import MimiWeights


class RandomWeights(MimiWeights):
    """Any tensor that is asked for, with outputs of about unit size."""

    def __init__(self) -> None:
        super().__init__({}, "cpu")
        self._generator = torch.Generator().manual_seed(0)

    def get(self, name: str, *shape: int) -> Tensor:
        if name.endswith("cluster_usage"):
            return torch.ones(shape)
        fan_in = shape[0] if "convtr" in name else max(1, torch.Size(shape[1:]).numel())
        return torch.randn(shape, generator=self._generator) / fan_in**0.5


@torch.inference_mode()
def test_a_session_gets_bit_for_bit_what_it_gets_alone() -> None:
    config = replace(MimiConfig(), layers=1)
    mimi = Mimi(RandomWeights(), config, 3, torch.device("cpu"))
    pcm = torch.randn(2, 9, config.frame_samples, generator=torch.Generator().manual_seed(1)) / 8
    encoder, decoder = mimi.encoder(10), mimi.decoder(10)
    solo_encoder, solo_decoder = mimi.encoder(1), mimi.decoder(1)
    for step, slots in enumerate((range(9), [3])):
        latents = encoder.latents(list(slots), pcm[step, list(slots)])
        codes = mimi.quantizer.encode(latents)
        reply = decoder.step(list(slots), codes)
        row = list(slots).index(3)
        assert torch.equal(latents[row], solo_encoder.latents([0], pcm[step, 3:4])[0])
        assert torch.equal(reply[row], solo_decoder.step([0], codes[row : row + 1])[0])

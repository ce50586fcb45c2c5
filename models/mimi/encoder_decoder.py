"""Mimi's encoder and decoder without the quantiser: samples to latents and back (docs/model.md 1.2).

Both take what the convolutions remember as one tensor and the attention as an argument, so that a clip in one call
and sessions frame by frame run the same code.
"""

from __future__ import annotations

from torch import Tensor

from moshi_cluster.models.mimi.attention import Attend
from moshi_cluster.models.mimi.config import MimiConfig
from moshi_cluster.models.mimi.history import ConvHistory
from moshi_cluster.models.mimi.resample import Downsample, Upsample
from moshi_cluster.models.mimi.seanet import SeanetDecoder, SeanetEncoder
from moshi_cluster.models.mimi.transformer import MimiTransformer
from moshi_cluster.models.mimi.weights import MimiWeights


class LatentEncoder:
    """SEANet, transformer, down-sampling."""

    def __init__(self, weights: MimiWeights, config: MimiConfig) -> None:
        self.seanet = SeanetEncoder(weights, config)
        self.transformer = MimiTransformer(weights, "encoder_transformer", config)
        self.downsample = Downsample(weights, config)
        self.history = ConvHistory([*self.seanet.history_shapes, self.downsample.history_shape])

    def __call__(self, pcm: Tensor, history: Tensor, fresh: Tensor, attend: Attend) -> Tensor:
        """pcm: [N, T * frame_samples] -> latents [N, T, D]; history: [N, history.floats], advanced in place.

        fresh: bool [N], rows that run their first frame.
        """
        *seanet_past, last_past = self.history.split(history)
        x = self.seanet(pcm[:, :, None], seanet_past)
        return self.downsample(self.transformer(x, attend), last_past, fresh)


class LatentDecoder:
    """Up-sampling, transformer, SEANet."""

    def __init__(self, weights: MimiWeights, config: MimiConfig) -> None:
        self.upsample = Upsample(weights, config)
        self.transformer = MimiTransformer(weights, "decoder_transformer", config)
        self.seanet = SeanetDecoder(weights, config)
        self.history = ConvHistory([self.upsample.history_shape, *self.seanet.history_shapes])

    def __call__(self, latents: Tensor, history: Tensor, attend: Attend) -> Tensor:
        """latents: [N, T, D] -> pcm [N, T * frame_samples]; history: [N, history.floats], advanced in place."""
        first_past, *seanet_past = self.history.split(history)
        x = self.transformer(self.upsample(latents, first_past), attend)
        return self.seanet(x, seanet_past).squeeze(2)

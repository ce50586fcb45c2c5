"""Encoder and decoder without the quantizer: samples to latents and back.

Both take what the convolutions remember as one tensor and the attention as an argument, so that a clip in one call
and sessions frame by frame run the same code.
"""

from __future__ import annotations

from torch import Tensor

from moshi_cluster.models.mimi.attention import Attend
from moshi_cluster.models.mimi.config import MimiConfig
from moshi_cluster.models.mimi.history import History
from moshi_cluster.models.mimi.resample import Downsample, Upsample
from moshi_cluster.models.mimi.seanet import SeanetDecoder, SeanetEncoder
from moshi_cluster.models.mimi.transformer import Transformer
from moshi_cluster.models.mimi.weights import Weights


class EncoderHalf:
    """SEANet, transformer, down-sampling."""

    def __init__(self, weights: Weights, config: MimiConfig) -> None:
        self.seanet = SeanetEncoder(weights, config)
        self.transformer = Transformer(weights, "encoder_transformer", config)
        self.downsample = Downsample(weights, config)
        self.history = History([*self.seanet.history_shapes, self.downsample.history_shape])

    def __call__(self, pcm: Tensor, history: Tensor, fresh: Tensor, attend: Attend) -> Tensor:
        """pcm: [N, T * frame_samples] -> latents [N, T, D]; history: [N, history.floats], advanced in place.

        fresh: bool [N], rows that run their first frame.
        """
        *seanet_past, last_past = self.history.split(history)
        x = self.seanet(pcm[:, :, None], seanet_past)
        return self.downsample(self.transformer(x, attend), last_past, fresh)


class DecoderHalf:
    """Up-sampling, transformer, SEANet."""

    def __init__(self, weights: Weights, config: MimiConfig) -> None:
        self.upsample = Upsample(weights, config)
        self.transformer = Transformer(weights, "decoder_transformer", config)
        self.seanet = SeanetDecoder(weights, config)
        self.history = History([self.upsample.history_shape, *self.seanet.history_shapes])

    def __call__(self, latents: Tensor, history: Tensor, attend: Attend) -> Tensor:
        """latents: [N, T, D] -> pcm [N, T * frame_samples]; history: [N, history.floats], advanced in place."""
        first_past, *seanet_past = self.history.split(history)
        x = self.transformer(self.upsample(latents, first_past), attend)
        return self.seanet(x, seanet_past).squeeze(2)

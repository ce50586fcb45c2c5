"""Mimi as differentiable modules: the state dictionary is a published checkpoint."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from moshi_cluster.models.mimi import MimiConfig
from training.mimi.quantizer import Quantized, SplitQuantizer
from training.mimi.resample import TrainableDownsample, TrainableUpsample
from training.mimi.seanet import TrainableSeanetDecoder, TrainableSeanetEncoder
from training.mimi.transformer import TrainableTransformer


class TrainableMimi(nn.Module):
    """The codec of models.mimi, for whole crops."""

    def __init__(self, config: MimiConfig, half: bool = False) -> None:
        """half: run the convolutions, nine tenths of the work and bound by memory, in bfloat16."""
        super().__init__()
        self.config, self._half = config, half
        self.encoder = TrainableSeanetEncoder(config)
        self.encoder_transformer = TrainableTransformer(config)
        self.downsample = TrainableDownsample(config)
        self.quantizer = SplitQuantizer(config)
        self.upsample = TrainableUpsample(config)
        self.decoder_transformer = TrainableTransformer(config)
        self.decoder = TrainableSeanetDecoder(config)

    def encode(self, pcm: Tensor) -> Tensor:
        """pcm: [B, T * frame_samples] -> latents [B, T, D]."""
        with self._precision():
            x = self.encoder(pcm[:, :, None])
        latents: Tensor = self.downsample(self.encoder_transformer(x.float()))
        return latents

    def decode(self, latents: Tensor) -> Tensor:
        """latents: [B, T, D] -> pcm [B, T * frame_samples]."""
        return self.synthesise(self.decoder_transformer(self.upsample(latents)))

    def synthesise(self, x: Tensor) -> Tensor:
        """x: [B, 2 T, D], after the decoder's transformer -> pcm [B, T * frame_samples]."""
        with self._precision():
            pcm: Tensor = self.decoder(x)
        return pcm.squeeze(2)

    def forward(self, pcm: Tensor, active: Tensor | None = None) -> tuple[Tensor, Quantized]:
        """pcm: [B, T * frame_samples] -> the same after coding, and what the quantizer made of it."""
        quantized: Quantized = self.quantizer(self.encode(pcm), active)
        return self.decode(quantized.latents), quantized

    def _precision(self) -> torch.autocast:
        return torch.autocast("cpu", torch.bfloat16, enabled=self._half)

    def published(self) -> dict[str, Tensor]:
        """The tensors of a published checkpoint, float32."""
        return {name: tensor.detach().contiguous().clone() for name, tensor in self.state_dict().items()}

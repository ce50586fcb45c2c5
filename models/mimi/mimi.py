"""The Mimi codec: 24 kHz audio to 12.5 frames of codes per second and back (Defossez et al. 2024, arXiv 2410.00037)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from moshi_cluster.models.mimi.attention import ClipAttention
from moshi_cluster.models.mimi.config import MimiConfig
from moshi_cluster.models.mimi.encoder_decoder import LatentDecoder, LatentEncoder
from moshi_cluster.models.mimi.quantizer import Quantizer
from moshi_cluster.models.mimi.streaming import StreamingDecoder, StreamingEncoder
from moshi_cluster.models.mimi.weights import MimiWeights

DEFAULT_CODEBOOKS = 8


class Mimi:
    """The codec's weights, float32. `encode` and `decode` keep no state; sessions live in encoder() and decoder()."""

    def __init__(self, weights: MimiWeights, config: MimiConfig, codebooks: int, device: torch.device) -> None:
        if not 1 <= codebooks <= config.codebooks:
            raise ValueError(f"codebooks = {codebooks}, this checkpoint has 1 to {config.codebooks}")
        self.config = config
        self.codebooks = codebooks
        self.device = device
        self.latent_encoder = LatentEncoder(weights, config)
        self.latent_decoder = LatentDecoder(weights, config)
        self.quantizer = Quantizer(weights, config, codebooks)

    @classmethod
    def from_tensors(
        cls,
        tensors: Mapping[str, Tensor],
        config: MimiConfig,
        codebooks: int = DEFAULT_CODEBOOKS,
        device: torch.device | str = "cpu",
    ) -> Mimi:
        """tensors: a checkpoint by name; codebooks: how many are active.

        Raises ValueError naming the first tensor that is missing or of another shape.
        """
        device = torch.device(device)
        with torch.inference_mode():
            return cls(MimiWeights(tensors, device), config, codebooks, device)

    @torch.inference_mode()
    def encode(self, pcm: Tensor) -> Tensor:
        """pcm: [B, samples], zero-padded to whole frames -> codes int64 [B, K, T]."""
        latents = self.latents(pcm)
        codes = self.quantizer.encode(latents.flatten(0, 1))
        return codes.view(*latents.shape[:2], -1).transpose(1, 2)

    @torch.inference_mode()
    def latents(self, pcm: Tensor) -> Tensor:
        """pcm: [B, samples] -> what `encode` quantises, [B, T, D]."""
        B, samples = pcm.shape
        frames = -(-samples // self.config.frame_samples)
        pcm = F.pad(pcm.to(self.device, torch.float32), (0, frames * self.config.frame_samples - samples))
        history = torch.zeros(B, self.latent_encoder.history.floats, device=self.device)
        fresh = torch.ones(B, dtype=torch.bool, device=self.device)
        return self.latent_encoder(pcm, history, fresh, self._clip_attention(B, frames))

    @torch.inference_mode()
    def decode(self, codes: Tensor) -> Tensor:
        """codes: int64 [B, K, T], K up to the active number -> pcm float32 [B, 1920 * T].

        Raises ValueError for too many codebooks or a code that is none.
        """
        B, K, T = codes.shape
        flat = codes.to(self.device).transpose(1, 2).reshape(B * T, K)
        latents = self.quantizer.decode(flat).view(B, T, -1)
        history = torch.zeros(B, self.latent_decoder.history.floats, device=self.device)
        return self.latent_decoder(latents, history, self._clip_attention(B, T))

    def encoder(self, slots: int) -> StreamingEncoder:
        """Room for `slots` sessions that encode frame by frame."""
        return StreamingEncoder(self.latent_encoder, self.quantizer, self.config, slots, self.device)

    def decoder(self, slots: int) -> StreamingDecoder:
        """Room for `slots` sessions that decode frame by frame."""
        return StreamingDecoder(self.latent_decoder, self.quantizer, self.config, slots, self.device)

    def _clip_attention(self, clips: int, frames: int) -> ClipAttention:
        return ClipAttention(self.config, clips, frames * self.config.positions_per_frame, self.device)

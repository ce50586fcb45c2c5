"""Training step of the codec: network, heads and discriminator with their optimisers."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moshi_cluster.audio.frame import FRAME_SAMPLES
from moshi_cluster.models.mimi import MimiConfig
from training.mimi.crops import Crops
from training.mimi.discriminator import Discriminator, deceit_loss, feature_loss, judge_loss
from training.mimi.network import TrainableMimi
from training.mimi.phone_heads import PhoneHeads
from training.mimi.processes import average_gradients
from training.mimi.quantizer import Quantized
from training.mimi.schedule import Phase
from training.mimi.spectra import mel_distance

_WARM_UP_FRAMES = 2  # of a crop: a call does not begin in the middle of a word, so these do not count
_JUDGED_FRAMES = 8
_RESOLUTIONS_PER_STEP = 2
_DROPPED_CROPS = 0.3  # share that is decoded from fewer codebooks
_WAVE, _COMMITMENT, _SEMANTIC, _PHONES = 2.0, 0.25, 0.3, 0.2
_DECEIT, _FEATURES = 0.05, 0.5
_BETAS = (0.8, 0.99)
_JUDGE_RATE = 5e-4
_GRADIENT_NORM = 1.0

Losses = dict[str, float]


class Learner:
    """Everything that changes while training."""

    def __init__(self, config: MimiConfig) -> None:
        self.network = TrainableMimi(config, half=True)
        self._heads = PhoneHeads(config)
        self._judges = Discriminator()
        network, quantizer = self.network, self.network.quantizer
        self._listening = [network.encoder, network.encoder_transformer, network.downsample, self._heads]
        self._listening += [quantizer.rvq_first.input_proj, quantizer.rvq_rest.input_proj]
        self._parameters = [*network.parameters(), *self._heads.parameters()]
        self._optimiser = torch.optim.Adam(self._parameters, betas=_BETAS)
        self._judge_optimiser = torch.optim.Adam(self._judges.parameters(), lr=_JUDGE_RATE, betas=_BETAS)

    def step(self, crops: Crops, phase: Phase) -> Losses:
        """One update on this process's share of the crops."""
        for group in self._optimiser.param_groups:
            group["lr"] = phase.learning_rate
        self._optimiser.zero_grad()
        loss, losses = self._decoding(crops) if phase.codes_final else self._coding(crops)
        loss.backward()
        average_gradients(self._parameters)
        nn.utils.clip_grad_norm_(self._parameters, _GRADIENT_NORM)
        self._optimiser.step()
        return losses | {"loss": loss.item()}

    def state(self) -> dict[str, Any]:
        """All of it, for `restore`."""
        return {name: part.state_dict() for name, part in self._parts().items()}

    def restore(self, state: dict[str, Any]) -> None:
        """Continues where `state` was taken."""
        for name, part in self._parts().items():
            part.load_state_dict(state[name])

    def _parts(self) -> dict[str, Any]:
        return {
            "network": self.network,
            "heads": self._heads,
            "judges": self._judges,
            "optimiser": self._optimiser,
            "judge_optimiser": self._judge_optimiser,
        }

    def _coding(self, crops: Crops) -> tuple[Tensor, Losses]:
        """Encoder, codebooks and decoder together."""
        B = len(crops.heard)
        levels = self.network.config.codebooks - 1
        active = torch.where(torch.rand(B) < _DROPPED_CROPS, torch.randint(levels, (B,)), levels)
        quantized: Quantized
        self.network.train()
        output, quantized = self.network(crops.heard, active)
        semantic, phones, right = self._heads(quantized, crops.phones)
        loss, losses = self._likeness(output, crops.target)
        loss = loss + _COMMITMENT * quantized.commitment + _SEMANTIC * semantic + _PHONES * phones
        self.network.quantizer.learn()
        losses |= {"commitment": quantized.commitment.item(), "semantic": semantic.item()}
        return loss, losses | {"phones": phones.item(), "phones_right": right.item()}

    def _decoding(self, crops: Crops) -> tuple[Tensor, Losses]:
        """The decoder alone, against the judges."""
        self.network.eval()
        for part in self._listening:
            part.requires_grad_(False)
        with torch.no_grad():
            latents = self.network.encode(crops.heard)
        quantized: Quantized = self.network.quantizer(latents)
        output = self.network.decode(quantized.latents)
        loss, losses = self._likeness(output, crops.target)
        start = int(torch.randint(_WARM_UP_FRAMES, output.shape[1] // FRAME_SAMPLES - _JUDGED_FRAMES + 1, ()))
        judged = slice(start * FRAME_SAMPLES, (start + _JUDGED_FRAMES) * FRAME_SAMPLES)
        real, fake = crops.target[:, judged], output[:, judged]
        losses["judges"] = self._judge_step(real, fake.detach())
        self._judges.requires_grad_(False)
        with torch.no_grad():
            real_seen = self._judges(real)
        seen = self._judges(fake)
        deceit, features = deceit_loss(seen), feature_loss(real_seen, seen)
        self._judges.requires_grad_(True)
        losses |= {"deceit": deceit.item(), "features": features.item()}
        return loss + _DECEIT * deceit + _FEATURES * features, losses

    def _judge_step(self, real: Tensor, fake: Tensor) -> float:
        self._judge_optimiser.zero_grad()
        loss = judge_loss(self._judges(real), self._judges(fake))
        loss.backward()
        average_gradients(self._judges.parameters())
        self._judge_optimiser.step()
        return loss.item()

    def _likeness(self, output: Tensor, target: Tensor) -> tuple[Tensor, Losses]:
        skipped = _WARM_UP_FRAMES * FRAME_SAMPLES
        output, target = output[:, skipped:], target[:, skipped:]
        mel, wave = mel_distance(output, target, _RESOLUTIONS_PER_STEP), F.l1_loss(output, target)
        return mel + _WAVE * wave, {"mel": mel.item(), "wave": wave.item()}

"""Training step of the second stage: what turns codes into sound learns, what turns sound into codes does not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from moshi_cluster.audio.frame import FRAME_SAMPLES
from moshi_cluster.models.mimi import MimiConfig
from training.lm.optimiser import set_rate
from training.mimi.hearing import hearing_distance
from training.mimi.kernels import KernelMuon
from training.mimi.network import TrainableMimi
from training.mimi.spectra import mel_distance
from training.mimi.utterances import UtteranceBatch

_RUN_UP_FRAMES = 4  # of the convolutions, more than they look back; the transformer's run-up is the whole past
_MEL, _HEARING = 0.5, 1.0
_RESOLUTIONS_PER_STEP = 1
_BETAS = (0.8, 0.99)
_GRADIENT_NORM = 1.0
_LEAST_MATRIX = 8  # rows and columns: what is smaller has no directions to even out
_AVERAGED_STEPS = 200

Losses = dict[str, float]


class Tuner:
    """The codec whose decoder learns, a running mean of its weights, and the optimiser."""

    def __init__(self, config: MimiConfig, weights: Mapping[str, Tensor]) -> None:
        """weights: of a trained codec."""
        self.network = TrainableMimi(config, half=True)
        self.network.load_state_dict(weights)
        self.network.eval().requires_grad_(False)
        quantizer = self.network.quantizer
        self._books = [book.centroids for book in (*quantizer.rvq_first.codebooks(), *quantizer.rvq_rest.codebooks())]
        self._learning = {name: tensor for name, tensor in self.network.named_parameters() if is_decoding(name)}
        for parameter in self._learning.values():
            parameter.requires_grad_(True)
        self._mean = {name: tensor.detach().clone() for name, tensor in self._learning.items()}
        self._optimisers = optimisers(self._learning)
        self._steps = 0

    def step(self, batch: UtteranceBatch, learning_rate: float) -> Losses:
        """One update."""
        set_rate(self._optimisers, learning_rate)
        for optimiser in self._optimisers:
            optimiser.zero_grad()
        output = self.decode(batch.codes, batch.target.shape[1] // FRAME_SAMPLES)
        hearing = hearing_distance(output, batch.target)
        mel = mel_distance(output, batch.target, _RESOLUTIONS_PER_STEP)
        loss = _HEARING * hearing + _MEL * mel
        loss.backward()
        nn.utils.clip_grad_norm_(list(self._learning.values()), _GRADIENT_NORM)
        for optimiser in self._optimisers:
            optimiser.step()
        self._average()
        return {"hearing": hearing.item(), "mel": mel.item(), "loss": loss.item()}

    def decode(self, codes: Tensor, frames: int) -> Tensor:
        """codes: int64 [B, P + frames, K] -> samples [B, frames * 1920] of the last `frames`."""
        past = codes.shape[1] - frames
        x = self.network.decoder_transformer(self.network.upsample(self._latents(codes)))
        run_up = min(past, _RUN_UP_FRAMES)
        x = x[:, self.network.config.positions_per_frame * (past - run_up) :]
        return self.network.synthesise(x)[:, run_up * FRAME_SAMPLES :]

    def state(self) -> dict[str, Any]:
        """What `restore` needs beside the same weights at the beginning."""
        learning = {name: tensor.detach() for name, tensor in self._learning.items()}
        return {
            "learning": learning,
            "mean": self._mean,
            "optimisers": [optimiser.state_dict() for optimiser in self._optimisers],
            "steps": self._steps,
        }

    @torch.no_grad()
    def restore(self, state: dict[str, Any]) -> None:
        """Continues where `state` was taken."""
        for name, tensor in self._learning.items():
            tensor.copy_(state["learning"][name])
            self._mean[name].copy_(state["mean"][name])
        for optimiser, found in zip(self._optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(found)
        self._steps = state["steps"]

    def published(self) -> dict[str, Tensor]:
        """The tensors of a checkpoint, with the mean of what learns."""
        return self.network.published() | {name: tensor.clone() for name, tensor in self._mean.items()}

    def _latents(self, codes: Tensor) -> Tensor:
        quantizer = self.network.quantizer
        first = self._books[0][codes[..., 0]]
        rest = torch.stack([book[codes[..., level]] for level, book in enumerate(self._books[1:], start=1)]).sum(dim=0)
        return quantizer.rvq_first.project_out(first) + quantizer.rvq_rest.project_out(rest)

    @torch.no_grad()
    def _average(self) -> None:
        """A mean over few steps at first: the weights at the start are far behind soon."""
        self._steps += 1
        weight = max(1 / self._steps, 1 / _AVERAGED_STEPS)
        for name, tensor in self._learning.items():
            self._mean[name].lerp_(tensor, weight)


def optimisers(learning: Mapping[str, nn.Parameter]) -> list[torch.optim.Optimizer]:
    """Muon for what multiplies vectors, Adam for the rest."""
    matrices = [p for p in learning.values() if p.dim() >= 2 and min(p.flatten(1).shape) >= _LEAST_MATRIX]
    others = [p for p in learning.values() if not any(p is matrix for matrix in matrices)]
    return [KernelMuon(matrices), torch.optim.Adam(others, betas=_BETAS)]


def is_decoding(name: str) -> bool:
    """Whether a tensor, by its published name, is used by decoding alone. Codebooks serve both directions."""
    return name.startswith(("upsample.", "decoder_transformer.", "decoder.")) or ".output_proj." in name

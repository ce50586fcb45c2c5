"""Phone classifiers on codes: they make the first codebook semantic, in place of a self-supervised speech model."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moshi_cluster.models.mimi import MimiConfig
from training.mimi.quantizer import Quantized
from training.world.phones import PHONES, PHONES_PER_FRAME


class PhoneHeads(nn.Module):
    """One linear reader of the first codebook's vector, one of all codebooks' vectors."""

    def __init__(self, config: MimiConfig) -> None:
        super().__init__()
        outputs = PHONES_PER_FRAME * len(PHONES)
        self.semantic = nn.Linear(config.codebook_width, outputs)
        self.all = nn.Linear(2 * config.codebook_width, outputs)

    def forward(self, quantized: Quantized, phones: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """phones: int64 [B, T, 4] -> cross-entropy of either reader and the share the first gets right, scalars."""
        semantic = self.semantic(quantized.semantic).unflatten(-1, (PHONES_PER_FRAME, -1))
        both = self.all(torch.cat((quantized.semantic, quantized.acoustic), dim=-1)).unflatten(
            -1, (PHONES_PER_FRAME, -1)
        )
        right = (semantic.argmax(dim=-1) == phones).float().mean()
        return _cross_entropy(semantic, phones), _cross_entropy(both, phones), right


def _cross_entropy(logits: Tensor, phones: Tensor) -> Tensor:
    return F.cross_entropy(logits.flatten(0, 2), phones.flatten())

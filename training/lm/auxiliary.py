"""Auxiliary losses: what the lower layers are told about the caller's speech; nothing of it is in the checkpoint.

Without it the model would have to find out from Moshi's few words alone what the caller's codes mean. The phones that
the newest frame holds are classified, and the words of every question are read off its frames by connectionist
temporal classification (Graves et al. 2006).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.lm.data import Batch
from training.lm.layers import TrainableRmsNorm, normal
from training.lm.streams import NONE
from training.lm.vocabulary import BLANK


class CallerHeads(nn.Module):
    """Phones and words from the residual stream of a lower layer."""

    def __init__(self, dim: int, phones: int, words: int, phones_per_frame: int) -> None:
        super().__init__()
        self._phones_per_frame = phones_per_frame
        self.norm = TrainableRmsNorm(dim)
        self.phone_head = normal(phones_per_frame * phones, dim)
        self.word_head = normal(words, dim)

    def words(self, inner: Tensor) -> Tensor:
        """inner: [..., T, D] -> the most likely word, or BLANK, of every frame [..., T]."""
        return F.linear(self.norm(inner), self.word_head).argmax(dim=-1)

    def losses(self, inner: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """inner: [B, T, D] -> mean cross-entropy of a phone, mean CTC loss of a word."""
        inner = self.norm(inner)
        phones = F.linear(inner, self.phone_head).unflatten(-1, (self._phones_per_frame, -1))
        phone_loss = F.cross_entropy(phones.flatten(0, 2).float(), batch.phones.flatten(), ignore_index=NONE)
        return phone_loss, self._word_loss(inner, batch)

    def _word_loss(self, inner: Tensor, batch: Batch) -> Tensor:
        if not batch.questions:
            return inner.new_zeros(())
        lengths = torch.tensor([question.last - question.first for _, question in batch.questions])
        heard = inner.new_zeros(len(lengths), int(lengths.max()), inner.shape[-1])
        for number, (row, question) in enumerate(batch.questions):
            heard[number, : question.last - question.first] = inner[row, question.first : question.last]
        log_p = F.log_softmax(F.linear(heard, self.word_head).float(), dim=-1).transpose(0, 1)
        words = torch.tensor([word for _, question in batch.questions for word in question.words], device=inner.device)
        counts = torch.tensor([len(question.words) for _, question in batch.questions])
        loss = F.ctc_loss(log_p, words, lengths, counts, blank=BLANK, reduction="sum", zero_infinity=True)
        return loss / max(1, len(words))

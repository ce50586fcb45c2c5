"""Quick evaluation while the model trains: little enough to cost seconds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from moshi_cluster.models.loading.tokenizer import Tokenizer
from moshi_cluster.models.moshi_lm import MoshiLm, Sampling
from training.evaluate.answers import accuracy, answers, shown
from training.evaluate.conversation import converse
from training.lm.auxiliary import CallerHeads
from training.lm.data import Batch, collate
from training.lm.examples import Example
from training.lm.export import published
from training.lm.model import TrainableLm
from training.lm.streams import NONE, depth_tokens
from training.lm.vocabulary import BLANK
from training.tokens import TokenSession

_GREEDY = Sampling(text_temperature=0.0, audio_temperature=0.0)


@dataclass(frozen=True)
class Probe:
    """Some calls that training never sees."""

    sessions: list[TokenSession]
    examples: list[Example]
    tokenizer: Path

    @torch.inference_mode()
    def ask(self, lm: TrainableLm, heads: CallerHeads) -> dict[str, Any]:
        """Share of right tokens when all others are given, of questions whose every word the lower layers hear, and
        of right answers when nothing is given."""
        lm.eval()
        batches = [collate([example]) for example in self.examples]
        right, counted = torch.zeros(3), torch.zeros(3)
        for batch in batches:
            hits = _hits(lm, batch.inputs, batch.targets)
            kinds = _kinds(batch.targets, lm.config.existing_text_padding_id)
            for index, (hit, kind) in enumerate(zip(hits, kinds, strict=True)):
                right[index] += (hit & kind).sum()
                counted[index] += kind.sum()
        heard = [sum(found) for found in zip(*(_heard(lm, heads, batch) for batch in batches), strict=True)]
        lm.train()
        names = ("text", "semantic", "acoustic")
        shares = (right / counted.clamp(min=1)).tolist()
        given = {name: round(share, 4) for name, share in zip(names, shares, strict=True)}
        return {"given": given, "heard": heard, "answers": self._answers(lm)}

    def _answers(self, lm: TrainableLm) -> dict[str, tuple[int, int]]:
        product = MoshiLm.from_tensors(published(lm), lm.config, torch.float32)
        tokenizer = Tokenizer(self.tokenizer, lm.config.existing_text_padding_id)
        callers = [session.tokens()[:, lm.config.generated :] for session in self.sessions]
        said = converse(product, callers, _GREEDY)
        return accuracy(
            answer
            for session, tokens in zip(self.sessions, said, strict=True)
            for answer in answers(session.turns, shown(tokens[:, 0].tolist(), tokenizer))
        )


def _heard(lm: TrainableLm, heads: CallerHeads, batch: Batch) -> tuple[int, int]:
    """Questions read off word for word, and questions."""
    words = heads.words(lm.inner(batch.inputs))
    read = [words[row, question.first : question.last] for row, question in batch.questions]
    said = [torch.unique_consecutive(each) for each in read]
    right = [
        tuple(each[each != BLANK].tolist()) == question.words
        for each, (_, question) in zip(said, batch.questions, strict=True)
    ]
    return sum(right), len(right)


def _hits(lm: TrainableLm, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """bool [T] of text, [T] of own codebook 0, [T, dep_q - 1] of the others."""
    hidden, _ = lm.hidden(inputs)
    text = lm.text_logits(hidden[0]).argmax(dim=-1) == targets[0, :, 0]
    audio = targets[0, :, 1:] == lm.audio_logits(hidden[0], depth_tokens(targets[0])).argmax(dim=-1).T
    return text, audio[:, 0], audio[:, 1:]


def _kinds(targets: Tensor, padding: int) -> tuple[Tensor, Tensor, Tensor]:
    """Which of them count: text that says something, codes that exist."""
    text = targets[0, :, 0]
    return (text != padding) & (text != NONE), targets[0, :, 1] != NONE, targets[0, :, 2:] != NONE

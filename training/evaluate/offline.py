"""Offline evaluation: calls through the product's codec and generator, without a cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from moshi_cluster.audio.pcm import Samples
from moshi_cluster.models.loading import Checkpoint
from moshi_cluster.models.loading.lm import load_lm
from moshi_cluster.models.loading.mimi import load_mimi
from moshi_cluster.models.loading.tokenizer import Tokenizer
from moshi_cluster.models.mimi import Mimi
from moshi_cluster.models.moshi_lm import Sampling
from training.evaluate.answers import shown
from training.evaluate.conversation import converse
from training.evaluate.judge import HeldCall

_STREAMS = 32

Turns = Sequence[Mapping[str, Any]]


def hold(
    checkpoint: Checkpoint, turns: Sequence[Turns], callers: Sequence[Tensor], sampling: Sampling | None = None
) -> list[HeldCall]:
    """callers: the codes of each call's caller, int64 [T, K]; sampling: None for the checkpoint's own."""
    lm, mimi = load_lm(checkpoint, torch.float32), load_mimi(checkpoint)  # float32 is what a worker without a GPU runs
    assert checkpoint.tokenizer is not None  # everything was asked for
    tokenizer = Tokenizer(checkpoint.tokenizer, lm.config.existing_text_padding_id)
    said = converse(lm, callers, sampling or lm.config.lm_gen_config, _STREAMS)
    sounds = decode([tokens[:, 1:] for tokens in said], mimi)
    return [
        HeldCall(asked, shown(tokens[:, 0].tolist(), tokenizer), sound)
        for asked, tokens, sound in zip(turns, said, sounds, strict=True)
    ]


def decode(codes: Sequence[Tensor], mimi: Mimi) -> list[Samples]:
    """codes: int64 [T, K] of each call -> samples [1920 T], frame by frame as in a call."""
    sounds: list[Samples] = []
    for start in range(0, len(codes), _STREAMS):
        group = codes[start : start + _STREAMS]
        decoder = mimi.decoder(len(group))
        frames: list[list[Tensor]] = [[] for _ in group]
        for frame in range(max(map(len, group))):
            slots = [slot for slot, rows in enumerate(group) if len(rows) > frame]
            pcm = decoder.step(slots, torch.stack([group[slot][frame] for slot in slots]))
            for slot, row in zip(slots, pcm, strict=True):
                frames[slot].append(row)
        sounds += [torch.cat(rows).clamp(-1, 1).numpy() for rows in frames]
    return sounds

"""`python -m training.evaluate`: a checkpoint holds the held-out calls; prints and writes how well.

Generator, sampling and the codec's decoder are the product's own; only the transport between them is missing.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from models.loading import Checkpoint, resolve
from models.loading.lm import load_lm
from models.loading.mimi import load_mimi
from models.loading.tokenizer import Tokenizer
from models.mimi import Mimi
from models.moshi_lm import Sampling
from training.evaluate.conversation import converse
from training.evaluate.judge import Call, judge
from training.evaluate.recognise import Recogniser
from training.evaluate.report import Report
from training.evaluate.sound import Samples
from training.tokens import load, stored

_STREAMS = 32


def evaluate(checkpoint: Path, tokens: Path, sampling: Sampling | None = None) -> Report:
    """tokens: folder of held-out sessions, tokenised with the checkpoint's codec; sampling: the checkpoint's own."""
    found = resolve(str(checkpoint))
    lm, mimi = load_lm(found, torch.float32), load_mimi(found)  # float32 is what a worker without a GPU runs
    assert found.tokenizer is not None  # everything was asked for
    tokenizer = Tokenizer(found.tokenizer, lm.config.existing_text_padding_id)
    sessions = [load(path) for path in stored(tokens)]
    callers = [session.tokens()[:, lm.config.generated :] for session in sessions]
    said = converse(lm, callers, sampling or default_sampling(found), _STREAMS)
    sounds = decode([tokens[:, 1:] for tokens in said], mimi)
    calls = [
        Call(session.turns, tokens[:, 0].tolist(), sound)
        for session, tokens, sound in zip(sessions, said, sounds, strict=True)
    ]
    recogniser = Recogniser()
    return judge(calls, tokenizer, lambda sound: recogniser.hear(np.round(sound * 32767).astype(np.int16)))


def default_sampling(checkpoint: Checkpoint) -> Sampling:
    """What a caller gets who does not choose."""
    given = checkpoint.lm_gen_config
    return Sampling(given["temp_text"], given["top_k_text"], given["temp"], given["top_k"])


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


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m training.evaluate", description=__doc__.partition("\n\n")[0])
    parser.add_argument("--checkpoint", type=Path, required=True, help="folder in the published layout")
    parser.add_argument("--tokens", type=Path, required=True, help="folder of tokenised held-out sessions")
    parser.add_argument("--output", type=Path, help="JSON file for the results")
    parser.add_argument("--audio-temperature", type=float, help="instead of the checkpoint's own")
    given = parser.parse_args()
    sampling = None
    if given.audio_temperature is not None:
        sampling = Sampling(0.0, 25, given.audio_temperature, 250)
    report = evaluate(given.checkpoint, given.tokens, sampling)
    print(report.table())
    if given.output:
        given.output.write_text(json.dumps(report.as_json(), indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

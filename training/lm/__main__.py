"""Language model training, `python -m training.lm`: tokenised sessions to a checkpoint; a second run goes on."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch

from moshi_cluster.audio.frame import FRAMES_PER_S
from moshi_cluster.tools.checkpoint_sizes import MIMI_CONFIG_NAME, TOKENIZER_NAME
from training.lm.auxiliary import CallerHeads
from training.lm.data import Batches
from training.lm.examples import Example, example, heard_only
from training.lm.export import build, write_checkpoint
from training.lm.probe import Probe
from training.lm.sizes import lm_config
from training.lm.together import rank_and_processes
from training.lm.trainer import Recipe, Trainer
from training.lm.vocabulary import callers_words
from training.mimi.processes import is_worker, join, run_workers
from training.text import save_tokenizer, tokenizer
from training.tokens import load, stored
from training.world.phones import PHONES, PHONES_PER_FRAME


def train(
    data: Path, alone: Path, held_out: Path, mimi: Path, output: Path, export: Path, recipe: Recipe, probed: int
) -> None:
    """data, alone, held_out: folders of tokenised sessions; probed: how many of held_out are asked while training."""
    output.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(recipe.seed)
    vocabulary = callers_words()
    tokenizer_file = output / TOKENIZER_NAME
    if rank_and_processes()[0] == 0:
        save_tokenizer(tokenizer_file)
    config = lm_config(tokenizer().get_piece_size(), _bins(mimi))
    lm = build(config)
    calls = [example(load(path), lm.config, vocabulary) for path in stored(data)]
    monologues = [heard_only(example(load(path), lm.config, vocabulary)) for path in stored(alone)]
    size = sum(parameter.numel() for parameter in lm.parameters())
    if rank_and_processes()[0] == 0:
        print(f"{_hours(calls)} of calls, {_hours(monologues)} of callers alone; {size / 1e6:.1f} M parameters")
    heads = CallerHeads(config["dim"], len(PHONES), len(vocabulary), PHONES_PER_FRAME)
    asked = [load(path) for path in stored(held_out)[:probed]]
    probe = Probe(asked, [example(session, lm.config, vocabulary) for session in asked], tokenizer_file)
    context, part = lm.config.context, rank_and_processes()
    batches = Batches(calls, recipe.frames_per_batch, recipe.seed, context, *part)
    beside = Batches(monologues, recipe.alone_frames_per_batch, recipe.seed, context, *part)
    trainer = Trainer(lm, heads, batches, beside, output, recipe)

    def evaluate() -> dict[str, Any]:
        write_checkpoint(export, lm, config, mimi, tokenizer_file)
        return probe.ask(lm, heads)

    signal.signal(signal.SIGTERM, lambda *_: trainer.stop())
    trainer.run(evaluate)


def _hours(examples: list[Example]) -> str:
    return f"{sum(map(len, examples)) / FRAMES_PER_S / 3600:.1f} h"


def _bins(mimi: Path) -> int:
    return int(json.loads((mimi / MIMI_CONFIG_NAME).read_text(encoding="utf-8"))["quantizer"]["bins"])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m training.lm", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of tokenised sessions")
    parser.add_argument("--alone", type=Path, required=True, help="folder of tokenised sessions without answers")
    parser.add_argument("--held-out", type=Path, required=True, help="folder of tokenised sessions to ask")
    parser.add_argument("--mimi", type=Path, required=True, help="folder of the codec that made the tokens")
    parser.add_argument("--output", type=Path, required=True, help="folder for the state and the curves")
    parser.add_argument("--export", type=Path, required=True, help="folder for the checkpoint")
    parser.add_argument("--minutes", type=float, default=Recipe.minutes)
    parser.add_argument("--rate", type=float, default=Recipe.peak_rate, help="highest learning rate")
    parser.add_argument("--frames", type=int, default=Recipe.frames_per_batch, help="frames per batch and process")
    parser.add_argument("--evaluate-minutes", type=float, default=Recipe.evaluate_minutes)
    parser.add_argument("--probed", type=int, default=24, help="held-out sessions asked at each evaluation")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="one thread each")
    given = parser.parse_args()
    if not is_worker():
        return run_workers(["training.lm", *sys.argv[1:]], given.processes)
    join()
    recipe = Recipe(given.minutes, given.frames, peak_rate=given.rate, evaluate_minutes=given.evaluate_minutes)
    train(given.data, given.alone, given.held_out, given.mimi, given.output, given.export, recipe, given.probed)
    return 0


if __name__ == "__main__":
    sys.exit(main())

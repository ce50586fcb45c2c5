"""Offline evaluation, `python -m training.evaluate`: a checkpoint holds the held-out calls; prints and writes how well.

Generator, sampling and the codec's decoder are the product's own; only the transport between them is missing.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from moshi_cluster.models.loading import resolve
from moshi_cluster.models.moshi_lm import Sampling
from training.evaluate.judge import judge
from training.evaluate.offline import hold
from training.evaluate.recognise import Recogniser
from training.evaluate.report import EvaluationReport
from training.mimi.sizes import CODEBOOKS
from training.tokens import load, stored


def evaluate(checkpoint: Path, tokens: Path, sampling: Sampling | None = None) -> EvaluationReport:
    """tokens: folder of held-out sessions, tokenised with the checkpoint's codec; sampling: the checkpoint's own."""
    sessions = [load(path) for path in stored(tokens)]
    callers = [session.tokens()[:, -CODEBOOKS:] for session in sessions]
    calls = hold(resolve(str(checkpoint)), [session.turns for session in sessions], callers, sampling)
    return judge(calls, Recogniser().hear_floats)


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

"""`python -m benchmarks.codec_warmup`: how many of a stream's last frames a codec must be sent to go on with it.

A call that moves to another codec sends again what was said last, for the codec's state is nothing but what it heard.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.codec_warmup.cost import costs_ms
from benchmarks.codec_warmup.divergence import SECOND_FRAMES, DecoderLikeness, EncoderLikeness, decoders, encoders
from benchmarks.codec_warmup.voices import speech_frames
from benchmarks.machine import machine
from benchmarks.offline.model_sizes import MODEL_SIZES
from benchmarks.offline.table import markdown
from moshi_cluster.cluster.default_checkpoint import DEFAULT_CHECKPOINT
from moshi_cluster.models.loading import FileNames, Part, resolve
from moshi_cluster.models.loading.mimi import load_mimi
from moshi_cluster.models.mimi import Mimi, MimiConfig

_WARMUPS = (0, 1, 2, 4, 8, 12, 16, 20, 25, 28, 30, 32, 40, 50, 125, 250)
_CALLS = (1, 16)
_GOLDEN = Path(__file__).parents[2] / "tests" / "golden"
_CODECS = ("demo", "golden", "published")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and prints tables."""
    chosen = _parser().parse_args(arguments)
    torch.set_num_threads(1)  # as a worker's steps have by default
    print(json.dumps(machine()))
    for name in chosen.codecs:
        mimi, spoken = _codec(name), speech_frames()
        print(f"\n### {name}\n", flush=True)
        started_s = time.monotonic()
        print(_likeness(mimi, spoken, chosen.warmups, chosen.every))
        print(f"\n{_costs(mimi, chosen.warmups)}\n\n{time.monotonic() - started_s:.0f} s", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.codec_warmup", description=__doc__)
    parser.add_argument(
        "codecs", nargs="*", default=["demo", "golden"], metavar="CODEC", help="of " + ", ".join(_CODECS)
    )
    parser.add_argument("--warmups", type=int, nargs="+", default=_WARMUPS, metavar="FRAMES")
    parser.add_argument("--every", type=int, default=6, metavar="FRAMES", help="between two beginnings")
    return parser


def _codec(name: str) -> Mimi:
    """The demo model's is trained; the golden set's and the one of published size have random weights."""
    if name == "demo":
        return load_mimi(resolve(str(DEFAULT_CHECKPOINT), parts=Part.MIMI))
    if name == "golden":
        files = FileNames(
            config=str(_GOLDEN / "lm_tiny/config.json"),
            mimi=str(_GOLDEN / "mimi_tiny/mimi.safetensors"),
            mimi_config=str(_GOLDEN / "mimi_tiny/mimi_config.json"),
        )
        return load_mimi(resolve(None, files, Part.MIMI))
    size = next(size for size in MODEL_SIZES if size.name == f"mimi-{name}")
    return Mimi.from_tensors(size.tensors(torch.device("cpu")), MimiConfig.from_dict(size.config))


def _likeness(mimi: Mimi, spoken: Tensor, warmups: Sequence[int], every: int) -> str:
    """spoken: float32 [T, 1920]. The codes that are decoded are those of the recording."""
    frames = spoken.shape[0]
    starts = range(max(warmups), frames - max(warmups) - SECOND_FRAMES, every)
    codes = mimi.encode(spoken.reshape(1, -1))[0].T
    rows = zip(encoders(mimi, spoken, warmups, starts), decoders(mimi, codes, warmups, starts), strict=True)
    head = ["frames", "codes equal: first frame", "first second", "semantic", "decoder: error dB", "largest", "STOI"]
    body = [_cells(heard, said) for heard, said in rows]
    return f"{frames} frames of speech, {len(starts)} beginnings\n\n{markdown(head, body)}"


def _cells(heard: EncoderLikeness, said: DecoderLikeness) -> list[str]:
    shares = [f"{100 * share:.2f} %" for share in (heard.first_equal, heard.equal, heard.semantic_equal)]
    return [str(heard.warmup_frames), *shares, f"{said.error_db:.1f}", f"{said.largest:.4f}", f"{said.stoi:.4f}"]


def _costs(mimi: Mimi, warmups: Sequence[int]) -> str:
    head = ["frames", *(f"{what}, {calls} at once: ms" for what in ("encode", "decode") for calls in _CALLS)]
    costs = costs_ms(mimi, warmups, _CALLS)
    body = [[str(warmup), *(f"{ms:.0f}" for ms in row)] for warmup, row in zip(warmups, costs, strict=True)]
    return markdown(head, body)


if __name__ == "__main__":
    main()

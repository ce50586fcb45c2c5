"""Picture of a part of a real call through the running cluster: `python -m training.evaluate.picture`.

Both voices and both texts on one time axis, Moshi's as late as the caller hears them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.online.cluster import local_cluster
from moshi_cluster.audio.frame import FRAMES_PER_S, MODEL_RATE_HZ
from moshi_cluster.audio.pcm import Samples
from moshi_cluster.clients.telephony.wire_formats import from_wire
from moshi_cluster.cluster.recorded_callers import RecordedCaller, read
from moshi_cluster.cluster.running_cluster import EXIT_FAILED, exit_code, say
from training.evaluate.calling import LINE, hold
from training.evaluate.judge import HeldCall

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLUMNS_PER_S = 120
_CALLER, _MOSHI = "#2b6cb0", "#c05621"
_WORD_LEVELS = (1.42, 1.25, 1.08)  # one below the other, so that neighbours do not touch

_NEIGHBOURS_S = 1.0


@dataclass(frozen=True)
class Word:
    """Something that is said, and when it begins."""

    text: str
    start_s: float


def words(call: HeldCall) -> list[Word]:
    """Moshi's, each at the frame that its first piece came with, as late as it is heard."""
    found: list[Word] = []
    for frame, piece in enumerate(call.pieces):
        start_s = frame / FRAMES_PER_S + call.delay_s
        if piece.startswith(" ") or (piece and not found):
            found.append(Word(piece.strip(), start_s))
        elif piece:
            found[-1] = Word(found[-1].text + piece, found[-1].start_s)
    return found


def envelope(sound: Samples, rate_hz: int) -> tuple[Samples, Samples]:
    """Lowest and highest sample of every column of the picture."""
    length = rate_hz // _COLUMNS_PER_S
    columns = sound[: len(sound) // length * length].reshape(-1, length)
    return columns.min(axis=1), columns.max(axis=1)


def draw(path: Path, recording: RecordedCaller, call: HeldCall, from_s: float, until_s: float) -> None:
    """PNG, SVG or PDF by the file's suffix. Raises OSError, ValueError for another suffix."""
    # Imported after the call: it takes a second and 50 MB, and needs no display.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.4), layout="constrained", facecolor="white")
    above, below = figure.subplots(2, 1, sharex=True)
    caller = np.asarray(from_wire(recording.mu_law, LINE.encoding), dtype=np.float32) / np.float32(32768)
    _wave(above, caller, LINE.rate_hz, 0.0, _CALLER, "caller\nmu-law, 8 kHz")
    for turn in recording.turns:
        if from_s <= turn["user_start_s"] and turn["user_end_s"] <= until_s:
            middle_s = (turn["user_start_s"] + turn["user_end_s"]) / 2
            above.text(middle_s, 1.02, turn["user_text"], ha="center", va="bottom", color=_CALLER)
    _wave(below, call.sound, MODEL_RATE_HZ, call.delay_s, _MOSHI, "Moshi\n24 kHz")
    _texts(below, [word for word in words(call) if from_s <= word.start_s < until_s])
    below.set(xlim=(from_s, until_s), xlabel="time, s")
    figure.savefig(path, dpi=150, metadata={"Date": None} if path.suffix == ".svg" else None)


def _wave(axes: Axes, sound: Samples, rate_hz: int, delay_s: float, colour: str, name: str) -> None:
    low, high = envelope(sound, rate_hz)
    at_s = delay_s + np.arange(len(low)) / _COLUMNS_PER_S
    loudest = max(float(high.max()), float(-low.min()), 1e-3)
    axes.fill_between(at_s, low / loudest, high / loudest, color=colour, linewidth=0.4)
    axes.set(ylim=(-1, 1), yticks=[])
    axes.set_ylabel(name, rotation=0, ha="right", va="center", color=colour)
    axes.spines[["top", "right", "left", "bottom"]].set_visible(False)
    axes.grid(axis="x", alpha=0.3)


def _texts(axes: Axes, said: Sequence[Word]) -> None:
    place = axes.get_xaxis_transform()  # seconds, and shares of the height
    number, end_s = 0, 0.0
    for word in said:
        number = number + 1 if word.start_s < end_s + _NEIGHBOURS_S else 0
        end_s = word.start_s
        level = _WORD_LEVELS[number % len(_WORD_LEVELS)]
        axes.plot([word.start_s] * 2, [0.5, level], color=_MOSHI, linewidth=0.6, transform=place, clip_on=False)
        axes.text(word.start_s + 0.02, level, word.text, color=_MOSHI, transform=place, va="center")


def main() -> int:
    """Command line; exit status 1 when the cluster or the file fails."""
    given = _parser().parse_args()
    try:
        return exit_code(lambda: _run(given))
    except ValueError as error:
        say(f"error: {error}")
        return EXIT_FAILED


def _run(given: argparse.Namespace) -> int:
    recording = read()[given.call]
    with local_cluster(given.checkpoint, 1, {}) as cluster:
        (call,) = hold(cluster, [recording], callers=1).calls
    draw(given.output, recording, call, given.from_s, given.until_s)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training.evaluate.picture", description=__doc__)
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help=".svg or .png")
    parser.add_argument("--call", type=int, choices=range(6), default=3, help="which of the recorded calls")
    parser.add_argument("--from-s", type=float, default=0.0, help="begin of the part, in the call's seconds")
    parser.add_argument("--until-s", type=float, default=12.8, help="end of the part")
    parser.add_argument("--checkpoint", help="folder or owner/name; the demo model if absent")
    return parser


if __name__ == "__main__":
    sys.exit(main())

"""Codec evaluation on speech never heard: `python -m training.evaluate.codec --mimi FOLDER --data FOLDER`.

Every utterance of the sessions goes through the codec and, for comparison, through Opus at 6 kbit/s. Printed and
written as JSON: intelligibility, spectral distance, how many of Moshi's answers a recogniser understands before and
after, and how much of each codebook is used.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from moshi_cluster.audio.frame import MODEL_RATE_HZ
from moshi_cluster.models.mimi import Mimi
from training.evaluate.likeness import SHORTEST_S, Likeness, likeness
from training.evaluate.opus import through_opus
from training.evaluate.sound import trimmed
from training.tokens import load_mimi
from training.world.session import SoundSession
from training.world.store import load, stored

OPUS_BITS_PER_S = 6000
WANTED_STOI = 0.85
SPEAKERS = ("user", "moshi")
PLAYED = "moshi"
"""Who is ever decoded; a caller's codes only go to the language model."""

AFTER_S = 0.1  # an answer may end a little later than it should

Samples = NDArray[np.float32]
Summary = dict[str, float]
Hear = Callable[[Samples], str]  # speech at 24 kHz -> its words


@dataclass(frozen=True)
class CodebookUse:
    """How one codebook is used over all frames of one side of the calls."""

    entries: int  # that occur at all
    entropy_bits: float  # of the distribution of codes; log2 of the entries when all are equally likely


def evaluate(mimi: Mimi, sessions: Sequence[SoundSession], hear: Hear) -> dict[str, Any]:
    """Summaries by speaker and codec, the use of codebooks by speaker, and how much of Moshi's is understood."""
    results: dict[str, Any] = {}
    understood: Counter[str] = Counter()
    for speaker in SPEAKERS:
        ours: list[Likeness] = []
        theirs: list[Likeness] = []
        codes, spent = [], []
        for session in sessions:
            target = (getattr(session, speaker) / np.float32(32768)).astype(np.float32)
            coded = mimi.encode(torch.from_numpy(target)[None])
            output = mimi.decode(coded)[0].numpy()
            opus, bits_per_s = through_opus(target, MODEL_RATE_HZ, OPUS_BITS_PER_S)
            for span in utterances(session, speaker):
                ours.append(likeness(output[span], target[span]))
                theirs.append(likeness(opus[span], target[span]))
            codes.append(coded[0])
            spent.append(bits_per_s)
            if speaker == PLAYED:
                understood.update(heard_right(session, {"original": target, "mimi": output, "opus": opus}, hear))
        results[speaker] = {
            "utterances": len(ours),
            "mimi": summary(ours) | {"bits_per_s": bits(mimi)},
            "opus": summary(theirs) | {"bits_per_s": float(np.mean(spent))},
            "codebooks": [asdict(use) for use in codebook_use(torch.cat(codes, dim=1).numpy(), mimi.config.bins)],
        }
    return results | {"understood": dict(understood)}


def heard_right(session: SoundSession, sounds: Mapping[str, Samples], hear: Hear) -> Counter[str]:
    """Of the same call in several versions: whole answers ("all"), and how many of them are understood in each."""
    counts: Counter[str] = Counter(all=0, **dict.fromkeys(sounds, 0))
    for turn in session.turns:
        if turn.interrupted:
            continue
        counts["all"] += 1
        span = slice(round(turn.reply_start_s * MODEL_RATE_HZ), round((turn.reply_end_s + AFTER_S) * MODEL_RATE_HZ))
        for name, sound in sounds.items():
            counts[name] += hear(np.ascontiguousarray(trimmed(sound[span]))) == turn.reply_text
    return counts


def utterances(session: SoundSession, speaker: str) -> Iterator[slice]:
    """The samples of everything one side says, but for what is too short to measure."""
    side = "user" if speaker == "user" else "reply"
    for turn in session.turns:
        start, end = (round(getattr(turn, f"{side}_{edge}_s") * MODEL_RATE_HZ) for edge in ("start", "end"))
        if end - start >= SHORTEST_S * MODEL_RATE_HZ:
            yield slice(start, end)


def summary(measured: Sequence[Likeness]) -> Summary:
    """Means, and the intelligibility that nine of ten utterances reach."""
    with_tenth = {"stoi_tenth": float(np.quantile([one.stoi for one in measured], 0.1))}
    names = ("stoi", "mel_db", "mel_telephone_db")
    return {name: float(np.mean([getattr(one, name) for one in measured])) for name in names} | with_tenth


def bits(mimi: Mimi) -> float:
    """Bits per second of the codes."""
    return mimi.config.frame_rate_hz * mimi.codebooks * float(np.log2(mimi.config.bins))


def codebook_use(codes: NDArray[np.int64], bins: int) -> list[CodebookUse]:
    """codes: [K, T]."""
    use = []
    for level in codes:
        counts = np.bincount(level, minlength=bins)
        share = counts[counts > 0] / counts.sum()
        use.append(CodebookUse(len(share), float(-(share * np.log2(share)).sum())))
    return use


def good(results: Mapping[str, Any]) -> bool:
    """Whether what is played is intelligible and nearer to the original than Opus makes it."""
    ours, theirs = results[PLAYED]["mimi"], results[PLAYED]["opus"]
    return bool(ours["stoi"] >= WANTED_STOI and ours["mel_db"] < theirs["mel_db"])


def table(results: Mapping[str, Any]) -> str:
    """The results as Markdown."""
    lines = [
        "| speaker | codec | kbit/s | STOI | STOI, tenth | mel, dB | mel to 4 kHz, dB |",
        "|---|---|---|---|---|---|---|",
    ]
    for speaker in SPEAKERS:
        for codec in ("mimi", "opus"):
            row = results[speaker][codec]
            figures = (row["bits_per_s"] / 1000, row["stoi"], row["stoi_tenth"], row["mel_db"], row["mel_telephone_db"])
            lines.append(f"| {speaker} | {codec} | {' | '.join(f'{figure:.2f}' for figure in figures)} |")
    lines += ["", "| codebook | entries, user | bits, user | entries, Moshi | bits, Moshi |", "|---|---|---|---|---|"]
    for level, uses in enumerate(zip(*(results[speaker]["codebooks"] for speaker in SPEAKERS), strict=True)):
        cells = (f"{use['entries']} | {use['entropy_bits']:.2f}" for use in uses)
        lines.append(f"| {level} | {' | '.join(cells)} |")
    understood = results["understood"]
    parts = (f"{name} {understood[name]}" for name in ("original", "mimi", "opus"))
    lines += ["", f"Of Moshi's {understood['all']} answers a recogniser understands: {', '.join(parts)}."]
    return "\n".join(lines)


def recogniser() -> Hear:
    """pocketsphinx."""
    from training.evaluate.recognise import Recogniser

    ear = Recogniser()
    return lambda sound: ear.hear(np.round(sound.clip(-1, 1) * 32767).astype(np.int16))


def main() -> int:
    """Command line; exit status 1 when the codec is not as good as it should be."""
    parser = argparse.ArgumentParser(prog="training.evaluate.codec", description=__doc__.partition("\n\n")[0])
    parser.add_argument("--mimi", type=Path, required=True, help="export folder of training.mimi")
    parser.add_argument("--data", type=Path, required=True, help="folder of held-out sessions")
    parser.add_argument("--sessions", type=int, default=60, help="how many of them")
    parser.add_argument("--output", type=Path, help="JSON file for the results")
    arguments = parser.parse_args()
    warnings.filterwarnings("error", module="pystoi")  # it warns, and answers 0, where there is too little speech
    sessions = [load(path) for path in stored(arguments.data)[: arguments.sessions]]
    results = evaluate(load_mimi(arguments.mimi), sessions, recogniser())
    print(table(results))
    if arguments.output:
        arguments.output.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    return 0 if good(results) else 1


if __name__ == "__main__":
    sys.exit(main())

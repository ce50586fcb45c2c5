"""Files of sessions: one compressed npz each, the parts that are not arrays as JSON beside them."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path

import numpy as np

from training.world.session import SoundSession, Turn
from training.world.speech import Span


def path_of(folder: Path, number: int) -> Path:
    return folder / f"session-{number:06d}.npz"


def save(session: SoundSession, path: Path) -> None:
    """Whole or not at all: a stopped run leaves no half file under the final name."""
    meta = {
        "words": [list(word) for word in session.words],
        "turns": [asdict(turn) for turn in session.turns],
        "voice": session.voice,
    }
    partial = path.with_suffix(f".{os.getpid()}.partial")
    with partial.open("wb") as file:
        np.savez_compressed(
            file,
            user=session.user,
            moshi=session.moshi,
            user_phones=session.user_phones,
            moshi_phones=session.moshi_phones,
            meta=np.array(json.dumps(meta)),
        )
    partial.rename(path)


def load(path: Path) -> SoundSession:
    with np.load(path) as stored:
        meta = json.loads(str(stored["meta"]))
        return SoundSession(
            user=stored["user"],
            moshi=stored["moshi"],
            user_phones=stored["user_phones"],
            moshi_phones=stored["moshi_phones"],
            words=tuple(Span(*word) for word in meta["words"]),
            turns=tuple(Turn(**turn) for turn in meta["turns"]),
            voice=meta["voice"],
        )


def stored(folder: Path) -> list[Path]:
    """The sessions of a folder, in order of their numbers."""
    return sorted(folder.glob("session-*.npz"))

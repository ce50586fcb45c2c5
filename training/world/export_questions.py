"""Export of recorded callers with their right answers: `python -m training.world.export_questions`.

For tests and evaluations of a running cluster, which then need no synthesiser. Writes `call-000.wav` and so on, the
caller's whole side of a call with its pauses for the replies (mu-law, 8 kHz), and `calls.json`: of each call its file,
its length and its turns as `training.world.session.Turn` has them, times in seconds.
"""

from __future__ import annotations

import argparse
import json
import struct
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from moshi_cluster.audio.frame import MODEL_RATE_HZ
from moshi_cluster.audio.g711 import G711_RATE_HZ, nearest_mulaw
from moshi_cluster.audio.spectral_resample import resample_recording
from moshi_cluster.cluster.recorded_callers import INDEX
from training.world.session import SoundSession, generate

_MU_LAW_FORMAT = 7


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m training.world.export_questions", description=__doc__)
    parser.add_argument("--exchanges", type=int, default=20, help="at least so many, interrupted ones not counted")
    parser.add_argument("--seed", type=int, default=3, help="calls have the numbers from seed * 1000000 on")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    calls = (generate(number, "eval") for number in _numbers(arguments.seed))
    count = export(enough(calls, arguments.exchanges), arguments.output)
    print(f"{count} exchanges in {arguments.output}")


def enough(sessions: Iterable[SoundSession], exchanges: int) -> Iterator[SoundSession]:
    """The first sessions that together hold so many exchanges with a whole answer."""
    for session in sessions:
        if exchanges <= 0:
            return
        yield session
        exchanges -= sum(not turn.interrupted for turn in session.turns)


def export(sessions: Iterable[SoundSession], folder: Path) -> int:
    """Returns the number of exchanges with a whole answer."""
    folder.mkdir(parents=True, exist_ok=True)
    calls: list[dict[str, Any]] = []
    for number, session in enumerate(sessions):
        name = f"call-{number:03d}.wav"
        (folder / name).write_bytes(_wave_file(_as_telephones_send(session)))
        turns = [asdict(turn) for turn in session.turns]
        calls.append({"file": name, "seconds": session.seconds, "voice": session.voice, "turns": turns})
    (folder / INDEX).write_text(json.dumps(calls, indent=1) + "\n", encoding="utf-8")
    return sum(not turn["interrupted"] for call in calls for turn in call["turns"])


def _numbers(seed: int) -> Iterator[int]:
    number = seed * 1_000_000
    while True:
        yield number
        number += 1


def _as_telephones_send(session: SoundSession) -> bytes:
    samples = session.user.astype(np.float32) * np.float32(1 / 32768)
    return nearest_mulaw(resample_recording(samples, G711_RATE_HZ / MODEL_RATE_HZ))


def _wave_file(mu_law: bytes) -> bytes:
    """RIFF WAVE, one channel. The standard library writes linear PCM only."""
    layout = struct.pack("<HHIIHHH", _MU_LAW_FORMAT, 1, G711_RATE_HZ, G711_RATE_HZ, 1, 8, 0)
    chunks = [(b"fmt ", layout), (b"fact", struct.pack("<I", len(mu_law))), (b"data", mu_law)]
    body = b"".join(name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2) for name, data in chunks)
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WAVE" + body


if __name__ == "__main__":
    main()

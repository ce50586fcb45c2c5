"""Tokenising, `python -m training.tokens`: sessions of sound to sessions of tokens. A second run goes on."""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from moshi_cluster.models.loading.published import MIMI_NAME
from moshi_cluster.models.loading.safetensors_file import SafetensorsFile
from moshi_cluster.models.mimi import Mimi, MimiConfig
from moshi_cluster.tools.checkpoint_sizes import MIMI_CONFIG_NAME
from training.mimi.sizes import CODEBOOKS
from training.text import text_tokens
from training.world import store
from training.world.phones import NUMBER_OF, PHONES_PER_FRAME, SILENCE
from training.world.session import SoundSession

_SESSIONS_PER_JOB = 16


@dataclass(frozen=True)
class TokenSession:
    """A call of T frames.

    text: int16 [T]; moshi, user: uint8 [K, T]; user_phones: uint8 [T, 4], numbers in `PHONES`; moshi_active: bool [T],
    frames in which Moshi's voice sounds; turns: as in `SoundSession`, each a dictionary.
    """

    text: NDArray[np.int16]
    moshi: NDArray[np.uint8]
    user: NDArray[np.uint8]
    user_phones: NDArray[np.uint8]
    moshi_active: NDArray[np.bool_]
    turns: list[dict[str, Any]]

    def tokens(self) -> Tensor:
        """int64 [T, 1 + 2 K]: text, Moshi's codes, the user's, as in a session's history."""
        return torch.from_numpy(np.concatenate([self.text[None], self.moshi, self.user]).astype(np.int64).T.copy())


def tokenise(sessions: list[SoundSession], mimi: Mimi) -> list[TokenSession]:
    """Sessions of about the same length go best together."""
    channels = [channel for session in sessions for channel in (session.moshi, session.user)]
    codes = encode(channels, mimi)
    made = []
    for index, session in enumerate(sessions):
        frames = len(session.user) // mimi.config.frame_samples
        moshi_phones = session.moshi_phones.reshape(frames, PHONES_PER_FRAME)
        made.append(
            TokenSession(
                text=np.asarray(text_tokens(session.words, frames), dtype=np.int16),
                moshi=codes[2 * index],
                user=codes[2 * index + 1],
                user_phones=session.user_phones.reshape(frames, PHONES_PER_FRAME),
                moshi_active=(moshi_phones != NUMBER_OF[SILENCE]).any(axis=1),
                turns=[asdict(turn) for turn in session.turns],
            )
        )
    return made


def encode(channels: Sequence[NDArray[np.int16] | NDArray[np.float32]], mimi: Mimi) -> list[NDArray[np.uint8]]:
    """Whole frames of sound [N] each, full scale 32768 -> codes [K, T] each.

    Frame by frame, as in a call: a clip in one piece gets other codes, for in a call the attention forgets a position
    earlier (docs/model.md 1.7). Channels of digital silence are encoded once for all.
    """
    sounding = [channel for channel in channels if channel.any()]
    longest_silence = max((channel for channel in channels if not channel.any()), key=len, default=None)
    if longest_silence is None:
        return _encoded(sounding, mimi)
    *codes, silence = _encoded([*sounding, longest_silence], mimi)
    of_sounding = iter(codes)
    samples = mimi.config.frame_samples
    return [
        next(of_sounding) if channel.any() else silence[:, : len(channel) // samples].copy() for channel in channels
    ]


def _encoded(channels: Sequence[NDArray[np.int16] | NDArray[np.float32]], mimi: Mimi) -> list[NDArray[np.uint8]]:
    samples = mimi.config.frame_samples
    encoder = mimi.encoder(len(channels))
    codes: list[list[Tensor]] = [[] for _ in channels]
    for frame in range(max(map(len, channels)) // samples):
        slots = [slot for slot, channel in enumerate(channels) if len(channel) >= (frame + 1) * samples]
        pcm = np.stack([channels[slot][frame * samples : (frame + 1) * samples] for slot in slots])
        for slot, row in zip(slots, encoder.step(slots, torch.from_numpy(pcm).float() / 32768), strict=True):
            codes[slot].append(row)
    return [torch.stack(rows, dim=1).numpy().astype(np.uint8) for rows in codes]


def save(session: TokenSession, path: Path) -> None:
    """Whole or not at all."""
    arrays = asdict(session)
    arrays["turns"] = np.array(json.dumps(session.turns))
    partial = path.with_suffix(f".{os.getpid()}.partial")
    with partial.open("wb") as file:
        np.savez(file, **arrays)
    partial.rename(path)


def load(path: Path) -> TokenSession:
    with np.load(path) as arrays:
        parts = {name: arrays[name] for name in arrays.files if name != "turns"}
        return TokenSession(**parts, turns=json.loads(str(arrays["turns"])))


def stored(folder: Path) -> list[Path]:
    """The sessions of a folder, in order of their numbers."""
    return store.stored(folder)


def load_mimi(folder: Path) -> Mimi:
    """The codec of a folder in the published layout, with as many codebooks as the demo has, if there are so many."""
    config = MimiConfig.from_dict(json.loads((folder / MIMI_CONFIG_NAME).read_text(encoding="utf-8")))
    return Mimi.from_tensors(SafetensorsFile(folder / MIMI_NAME), config, min(CODEBOOKS, config.codebooks))


def _run_job(job: tuple[list[Path], Path, Path]) -> float:
    """Tokenises some sessions; returns seconds of sound."""
    paths, mimi_folder, output = job
    torch.set_num_threads(1)
    sessions = [store.load(path) for path in paths]
    for path, session in zip(paths, tokenise(sessions, load_mimi(mimi_folder)), strict=True):
        save(session, output / path.name)
    return sum(session.seconds for session in sessions)


def run(world: Path, mimi: Path, output: Path, processes: int = 2) -> None:
    """Tokenises the sessions of a folder that are not tokenised yet."""
    output.mkdir(parents=True, exist_ok=True)
    missing = [path for path in store.stored(world) if not (output / path.name).exists()]
    print(f"{len(missing)} sessions to tokenise", flush=True)
    parts = [missing[start : start + _SESSIONS_PER_JOB] for start in range(0, len(missing), _SESSIONS_PER_JOB)]
    started, seconds = time.monotonic(), 0.0
    with ProcessPoolExecutor(processes) as pool:
        for done, said_s in enumerate(pool.map(_run_job, [(part, mimi, output) for part in parts]), start=1):
            seconds += said_s
            if done % 20 == 0 or done == len(parts):
                took_s = time.monotonic() - started
                print(f"{done} of {len(parts)} parts, {seconds / 3600:.2f} h in {took_s:.0f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m training.tokens", description=__doc__)
    parser.add_argument("--world", type=Path, required=True, help="folder of sessions")
    parser.add_argument("--mimi", type=Path, required=True, help="folder with the codec's weights and configuration")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    run(arguments.world, arguments.mimi, arguments.output, arguments.processes)


if __name__ == "__main__":
    main()

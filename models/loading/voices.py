"""Voices of a checkpoint that takes prompts: a folder, or voices.tgz, of files as NVIDIA stores them."""

from __future__ import annotations

import io
import logging
import pickle
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

import torch
from torch import Tensor

from moshi_cluster.models.loading.errors import CheckpointError, MissingFileError
from moshi_cluster.models.loading.source import Folder, find_file, parse_source
from moshi_cluster.models.moshi_lm.config import LmConfig
from moshi_cluster.models.moshi_lm.prompt import Voice, voice_of_codes, voice_of_embeddings

_LOG = logging.getLogger(__name__)
_FOLDER, _ARCHIVE = "voices", "voices.tgz"
_STORED, _RECORDED = ".pt", ".wav"
VOICE_SUFFIXES = (_STORED, _RECORDED)
"""Of the files: callers may name a voice with or without."""
_MOST_BYTES, _MOST_FILES = 64 << 20, 1000  # of one file; in an archive


def find_voices(source: str | None, given: str | None) -> Path | None:
    """Folder or archive of a checkpoint's voices; given: in its place. None: it has none. Raises CheckpointError."""
    if given is not None:
        path = Path(given).expanduser()
        return path if path.is_dir() else find_file(given, parse_source(source) if source else None)
    if source is None:
        return None
    where = parse_source(source)
    if isinstance(where, Folder) and (where.path / _FOLDER).is_dir():
        return where.path / _FOLDER
    try:
        return where.find(_ARCHIVE)
    except MissingFileError:
        return None


def load_voices(path: Path, config: LmConfig, encode: Callable[[bytes], Tensor]) -> dict[str, Voice]:
    """Voices by name, without suffix. What is no voice is left out, with a warning. Raises CheckpointError.

    encode: a recording, the bytes of a WAV file, to int64 [T, own codebooks]; raises ValueError.
    """
    voices: dict[str, Voice] = {}
    recordings: dict[str, bytes] = {}
    for name, content in _files(path):
        if name.suffix not in VOICE_SUFFIXES:
            _LOG.warning("%s: %s is no voice: only %s files are", path, name, " and ".join(VOICE_SUFFIXES))
        elif name.stem in (recordings if name.suffix == _RECORDED else voices):
            raise CheckpointError(f"{path}: two voices are called {name.stem}")
        elif name.suffix == _RECORDED:
            recordings[name.stem] = content
        else:
            voices[name.stem] = _stored_voice(content, f"{path}: {name}", config)
    for stem, content in recordings.items():
        if stem in voices:
            _LOG.warning("%s: %s%s is left out: %s%s is that voice", path, stem, _RECORDED, stem, _STORED)
        else:
            voices[stem] = _recorded_voice(content, f"{path}: {stem}{_RECORDED}", config, encode)
    return voices


def _files(path: Path) -> Iterator[tuple[PurePosixPath, bytes]]:
    if path.is_dir():
        for file in sorted(path.iterdir()):
            if file.is_file() and not file.name.startswith("."):
                yield PurePosixPath(file.name), _bounded(file.read_bytes(), f"{path}: {file.name}")
        return
    try:
        with tarfile.open(path, "r:gz") as archive:
            for count, member in enumerate(archive):
                if count >= _MOST_FILES or member.size > _MOST_BYTES:
                    raise CheckpointError(f"{path}: {member.name}: too many or too large files for voices")
                name = PurePosixPath(member.name)
                if member.isfile() and not name.name.startswith("."):
                    content = archive.extractfile(member)
                    yield PurePosixPath(name.name), b"" if content is None else content.read()
    except (OSError, tarfile.TarError, EOFError) as error:
        raise CheckpointError(f"{path}: not a readable archive of voices ({error})") from error


def _bounded(content: bytes, where: str) -> bytes:
    if len(content) > _MOST_BYTES:
        raise CheckpointError(f"{where}: {len(content)} bytes are no voice")
    return content


def _recorded_voice(content: bytes, where: str, config: LmConfig, encode: Callable[[bytes], Tensor]) -> Voice:
    try:
        return voice_of_codes(encode(content), config)
    except (ValueError, CheckpointError) as error:
        raise CheckpointError(f"{where}: {error}") from error


def _stored_voice(content: bytes, where: str, config: LmConfig) -> Voice:
    try:  # weights_only: nothing but tensors is read, and no code of the file runs
        stored = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        embeddings, cache = stored["embeddings"], stored["cache"]
    except (KeyError, TypeError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise CheckpointError(f"{where}: not a voice: {_first_line(error)}") from error
    _check(embeddings, (None, 1, 1, config.dim), f"{where}: embeddings", floating=True)
    _check(cache, (1, config.streams, config.max_delay + 3), f"{where}: cache", floating=False)
    if bool((cache > torch.tensor(config.initial_tokens)[:, None]).any()):
        raise CheckpointError(f"{where}: cache: tokens beyond the vocabulary")
    return voice_of_embeddings(embeddings.flatten(1).float(), cache[0].long().clamp(min=0), config)


def _check(found: object, shape: tuple[int | None, ...], where: str, floating: bool) -> None:
    fits = (
        isinstance(found, Tensor)
        and found.dim() == len(shape)
        and all(wanted in (None, size) for wanted, size in zip(shape, found.shape, strict=True))
        and found.is_floating_point() == floating
        and found.shape[0] > 0
        and bool(torch.isfinite(found.float()).all())
    )
    if not fits:
        described = f"{found.dtype} {list(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
        wanted = ", ".join("any" if size is None else str(size) for size in shape)
        raise CheckpointError(f"{where}: expected {'floats' if floating else 'integers'} [{wanted}], found {described}")


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)[:200]

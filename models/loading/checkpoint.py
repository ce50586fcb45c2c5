"""Checkpoint resolution: which files a checkpoint consists of, found or downloaded."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moshi_cluster.models.loading import published
from moshi_cluster.models.loading.config import Config, read_config, read_object
from moshi_cluster.models.loading.errors import CheckpointError, MissingFileError
from moshi_cluster.models.loading.fingerprint import fingerprint
from moshi_cluster.models.loading.source import Source, find_file, parse_source


class Part(enum.Flag):
    """What a worker needs of a checkpoint; nothing else is downloaded."""

    LM_WEIGHTS = enum.auto()  # adapters included
    TOKENIZER = enum.auto()
    MIMI = enum.auto()  # the codec's weights and its configuration
    LM = LM_WEIGHTS | TOKENIZER
    ALL = LM | MIMI


@dataclass(frozen=True)
class FileNames:
    """Single files in place of the source's own.

    Each is a path of this machine, `file://path`, `hf://owner/repo/path`, or, when no such path exists, the name of
    a file in the source.
    """

    config: str | None = None
    lm: str | None = None
    lora: str | None = None  # adapters of the LM
    tokenizer: str | None = None
    mimi: str | None = None
    mimi_config: str | None = None


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint whose files are on this machine. Paths of parts that were not asked for are None."""

    lm_config: Mapping[str, Any]  # config.json without what describes files, for LmConfig.from_dict
    lm_weights: Path | None
    lora_weights: Path | None  # None when there are no adapters, or they are among the LM's tensors
    has_lora: bool
    lora_scaling: float | None  # None: config.json does not say
    tokenizer: Path | None
    mimi_config: Mapping[str, Any] | None  # None: the published codec
    mimi_weights: Path | None
    model_type: str  # "moshi", or "hibiki", "stt", "tts"
    fingerprint: str  # 16 hex digits; of the parts asked for

    @property
    def codebooks(self) -> int:
        """Codebooks that Mimi runs with: as many as the LM speaks or hears, whichever is more."""
        try:
            spoken, heard = self.lm_config["dep_q"], self.lm_config["n_q"] - self.lm_config["dep_q"]
        except (KeyError, TypeError) as error:
            raise CheckpointError(f"config.json: n_q, dep_q: expected two integers ({error})") from error
        return int(max(spoken, heard))


def resolve(source: str | None, files: FileNames = FileNames(), parts: Part = Part.ALL) -> Checkpoint:
    """Find, and download if need be, the files of a checkpoint.

    source: a folder or `owner/name[@revision]`; None when `files` names everything that `parts` needs.
    Raises CheckpointError naming the file or the field.
    """
    where = parse_source(source) if source is not None else None
    config = read_config(_named(files.config), where)
    lm_weights = lora_weights = tokenizer = mimi_weights = None
    mimi_config: Mapping[str, Any] | None = None
    if Part.MIMI in parts:
        mimi_config = _mimi_config(files, config, where)
        mimi_weights = _find("mimi", files.mimi, config.mimi_name, where)
    if Part.TOKENIZER in parts:
        tokenizer = _find("tokenizer", files.tokenizer, config.tokenizer_name, where)
    if Part.LM_WEIGHTS in parts:
        lm_weights = _find_lm(files.lm or config.lm_name, where)
        if files.lora is not None or config.lora_name is not None:
            lora_weights = _find("lora", files.lora, config.lora_name or "", where)
    has_lora = config.has_lora or lora_weights is not None
    lm_identity: dict[str, Any] = {"lm": config.lm, "model_type": config.model_type}
    if has_lora:
        lm_identity["lora_scaling"] = config.lora_scaling
    return Checkpoint(
        lm_config=config.lm,
        lm_weights=lm_weights,
        lora_weights=lora_weights,
        has_lora=has_lora,
        lora_scaling=config.lora_scaling,
        tokenizer=tokenizer,
        mimi_config=mimi_config,
        mimi_weights=mimi_weights,
        model_type=config.model_type,
        fingerprint=fingerprint(
            (lm_identity if Part.LM_WEIGHTS in parts else None, mimi_config),
            (path for path in (lm_weights, lora_weights, tokenizer, mimi_weights) if path is not None),
        ),
    )


def codec_fingerprint(source: str | None, files: FileNames = FileNames()) -> str:
    """Fingerprint of the codec that belongs to a checkpoint, as `resolve` has it for Part.MIMI alone.

    Empty when the codec's files are not on this machine; nothing but config.json is downloaded for it. Raises
    CheckpointError for a source or a config.json that cannot be.
    """
    where = parse_source(source) if source is not None else None
    config = read_config(_named(files.config), where)
    try:
        mimi_config = _mimi_config(files, config, where, download=False)
        mimi_weights = _find("mimi", files.mimi, config.mimi_name, where, download=False)
    except CheckpointError:
        return ""
    return fingerprint((None, mimi_config), (mimi_weights,))


def _mimi_config(
    files: FileNames, config: Config, source: Source | None, download: bool = True
) -> dict[str, Any] | None:
    if files.mimi_config is None and config.mimi_config_name is None:
        return None
    return read_object(_find("mimi_config", files.mimi_config, config.mimi_config_name or "", source, download))


def _find_lm(name: str | None, source: Source | None) -> Path:
    """The LM by its name, else by the first of the published names that the source has."""
    if name is not None or source is None:
        return _find("lm", name, published.LM_NAME, source)
    for candidate in published.LM_NAMES:
        try:
            return find_file(candidate, source)
        except MissingFileError:
            continue
    raise MissingFileError(f"{source}: no LM, none of {', '.join(published.LM_NAMES)}")


def _find(what: str, given: str | None, default: str, source: Source | None, download: bool = True) -> Path:
    if given is None and source is None and "://" not in default:
        raise CheckpointError(f"{what}: no file given, and no repository or folder to find it in")
    return find_file(_named(given) or default, source, download)


def _named(given: str | None) -> str | None:
    """A name given by the operator: a path of this machine wins over a file of the source."""
    if given is not None and "://" not in given and Path(given).expanduser().is_file():
        return f"file://{given}"
    return given

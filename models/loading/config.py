"""config.json: which files make a checkpoint, and what the models are built from."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from models.loading import published
from models.loading.errors import CheckpointError, MissingFileError
from models.loading.source import Source, find_file

_LOG = logging.getLogger(__name__)
_CONFIG_NAME = "config.json"
_Default = TypeVar("_Default", str, None)
# For models of other kinds; nothing here reads them and the LM's constructor must not see them.
_UNUSED = ("tts_config", "stt_config", "model_id")


@dataclass(frozen=True)
class Config:
    """config.json taken apart. Names are file names in the syntax of `source.find_file`."""

    lm: Mapping[str, Any]
    lm_name: str = published.LM_NAME
    mimi_name: str = published.MIMI_NAME
    mimi_config_name: str | None = None
    tokenizer_name: str = published.TOKENIZER_NAME
    model_type: str = published.MODEL_TYPE
    lm_gen_config: Mapping[str, Any] = field(default_factory=dict)


def read_config(name: str | None, source: Source | None) -> Config:
    """The configuration in the file `name`, or in the source's config.json.

    A source without one is a repository older than config.json: Moshi 7B is assumed, with a warning.
    Raises CheckpointError.
    """
    if name is not None:
        return _parse(find_file(name, source))
    if source is not None:
        try:
            return _parse(source.find(_CONFIG_NAME))
        except MissingFileError:
            pass
    _LOG.warning("%s: no %s, assuming Moshi 7B", source or "checkpoint", _CONFIG_NAME)
    return Config(lm=published.MOSHI_7B)


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file. Raises CheckpointError naming the file and the place."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path}: not readable as JSON: {error}") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path}: expected a JSON object, found {type(value).__name__}")
    return value


def _parse(path: Path) -> Config:
    lm = read_object(path)
    if lm.pop("lora_name", None) is not None or lm.get("lora"):
        raise CheckpointError(f"{path}: lora: adapters are not supported, give the fused checkpoint")
    for key in _UNUSED:
        lm.pop(key, None)
    return Config(
        lm_name=_pop_text(lm, "moshi_name", published.LM_NAME, path),
        mimi_name=_pop_text(lm, "mimi_name", published.MIMI_NAME, path),
        mimi_config_name=_pop_text(lm, "mimi_config_name", None, path),
        tokenizer_name=_pop_text(lm, "tokenizer_name", published.TOKENIZER_NAME, path),
        model_type=_pop_text(lm, "model_type", published.MODEL_TYPE, path),
        lm_gen_config=_pop_object(lm, "lm_gen_config", path),
        lm=lm,
    )


def _pop_text(config: dict[str, Any], key: str, default: _Default, path: Path) -> _Default | str:
    value = config.pop(key, None)
    if value is None:
        return default
    if not isinstance(value, str) or not value:
        raise CheckpointError(f"{path}: {key}: expected a file or type name, found {value!r}")
    return value


def _pop_object(config: dict[str, Any], key: str, path: Path) -> dict[str, Any]:
    value = config.pop(key, None)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise CheckpointError(f"{path}: {key}: expected an object, found {value!r}")
    return value

"""config.json of a checkpoint: which files belong to it, what the models are built from (docs/model.md 4.2)."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from moshi_cluster.models.loading import personaplex, published
from moshi_cluster.models.loading.errors import CheckpointError, MissingFileError
from moshi_cluster.models.loading.opening import naming
from moshi_cluster.models.loading.source import Source, find_file
from moshi_cluster.models.loading.strict_json import parse_json

_LOG = logging.getLogger(__name__)
_CONFIG_NAME = "config.json"
_MOST_BYTES = 1 << 20
_Default = TypeVar("_Default", str, None)
# For models of other kinds, or told by the files themselves; the LM's constructor must not see them.
_UNUSED = ("tts_config", "stt_config", "model_id", "lora_rank")


@dataclass(frozen=True)
class Config:
    """config.json taken apart. Names are file names in the syntax of `source.find_file`."""

    lm: Mapping[str, Any]  # all that is not about files, for LmConfig.from_dict
    lm_name: str | None = None  # None: whichever of published.LM_NAMES is there
    mimi_name: str = published.MIMI_NAME
    mimi_config_name: str | None = None
    tokenizer_name: str = published.TOKENIZER_NAME
    has_lora: bool = False  # adapters belong to it, in the file lora_name or among the LM's tensors
    lora_name: str | None = None
    lora_scaling: float | None = None  # None: nothing says it
    model_type: str = published.MODEL_TYPE


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
        if path.stat().st_size > _MOST_BYTES:
            raise CheckpointError(f"{path}: {path.stat().st_size} bytes are no configuration")
        value = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:  # among them UnicodeDecodeError and JSONDecodeError
        raise CheckpointError(f"{path}: not readable as JSON: {error}") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path}: expected a JSON object, found {type(value).__name__}")
    return value


def _parse(path: Path) -> Config:
    lm = read_object(path)
    for key in _UNUSED:
        lm.pop(key, None)
    has_lora = _pop_flag(lm, "lora", path)
    config = Config(
        has_lora=has_lora,
        lora_name=_pop_text(lm, "lora_name", None, path),
        lora_scaling=_pop_number(lm, "lora_scaling", published.LORA_SCALING if has_lora else None, path),
        lm_name=_pop_text(lm, "moshi_name", None, path),
        mimi_name=_pop_text(lm, "mimi_name", published.MIMI_NAME, path),
        mimi_config_name=_pop_text(lm, "mimi_config_name", None, path),
        tokenizer_name=_pop_text(lm, "tokenizer_name", published.TOKENIZER_NAME, path),
        model_type=_pop_text(lm, "model_type", published.MODEL_TYPE, path),
        lm=lm,
    )
    if config.model_type != personaplex.MODEL_TYPE:
        return config
    with naming(path):
        return replace(config, lm=personaplex.personaplex_config(lm))


def _pop_text(config: dict[str, Any], key: str, default: _Default, path: Path) -> _Default | str:
    value = config.pop(key, None)
    if value is None:
        return default
    if not isinstance(value, str) or not value:
        raise CheckpointError(f"{path}: {key}: expected a file or type name, found {value!r}")
    return value


def _pop_flag(config: dict[str, Any], key: str, path: Path) -> bool:
    value = config.pop(key, None)
    if not isinstance(value, bool | None):
        raise CheckpointError(f"{path}: {key}: expected true or false, found {value!r:.40}")
    return value is True


def _pop_number(config: dict[str, Any], key: str, default: float | None, path: Path) -> float | None:
    value = config.pop(key, None)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < 1e6:
        raise CheckpointError(f"{path}: {key}: expected a number, found {value!r:.40}")
    return float(value)

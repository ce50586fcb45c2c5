"""PersonaPlex, NVIDIA's Moshi with voice and role prompts: its config.json names the kind and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from moshi_cluster.models.loading.published import MOSHI_7B

MODEL_TYPE = "personaplex"
_VERSION = "7b-v1"
_OWN_STREAMS = 8
# Of Mimi: silence, and a tone of 440 Hz.
_SILENCE = [948, 243, 1178, 546, 1736, 1030, 1978, 2008]
_TONE = [430, 1268, 381, 1611, 1095, 1495, 56, 472]
# Its Depth Transformer has steps for the user's streams too.
_PERSONAPLEX_7B = MOSHI_7B | {"dep_q": 16}


def personaplex_config(given: Mapping[str, Any]) -> dict[str, Any]:
    """What LmConfig.from_dict reads, from a config.json whose model_type is personaplex (docs/model.md 2.8).

    given: keys of the model, in NVIDIA's terms, that take the place of the built-in ones. Raises ValueError.
    """
    if "stored_dep_q" in given:  # written by `tools.convert_checkpoint`, from what this gave
        return dict(given)
    sizes = {key: value for key, value in given.items() if key != "version"}
    if not sizes and given.get("version", _VERSION) != _VERSION:
        raise ValueError(f"version: {given['version']!r:.40} is not known, only {_VERSION!r}")
    config = _PERSONAPLEX_7B | sizes
    steps, context = config["dep_q"], config["context"]
    if type(steps) is not int or steps < _OWN_STREAMS:
        raise ValueError(f"dep_q: expected an integer of at least {_OWN_STREAMS}, found {steps!r:.40}")
    if type(context) is not int or context < 2:
        raise ValueError(f"context: expected an integer of at least 2, found {context!r:.40}")
    # Its ring of `context` places hides the oldest one when it is full: one frame less is seen.
    codes = {"prompt_silence_codes": _SILENCE, "prompt_tone_codes": _TONE}
    given_codes = codes if config["card"] == MOSHI_7B["card"] else {}  # other codebooks have other codes
    return given_codes | config | {"dep_q": _OWN_STREAMS, "stored_dep_q": steps, "context": context - 1}

"""The tiny PersonaPlex of the golden set, its voices, and what it was made to say."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from moshi_cluster.models.loading.personaplex import personaplex_config
from moshi_cluster.models.moshi_lm import LmConfig, MoshiLm
from moshi_cluster.models.moshi_lm.prompt import Prompt, Voice, prompt_frames, voice_of_codes, voice_of_embeddings
from tests.golden_set import golden_dir


def golden_folder() -> Path:
    folder = golden_dir() / "personaplex_tiny"
    if not folder.is_dir():
        pytest.skip("the golden set has no personaplex_tiny")
    return folder


@cache
def golden() -> dict[str, Tensor]:
    return load_file(golden_folder() / "outputs.safetensors")


def config_json() -> dict[str, Any]:
    """Sizes of the tiny model, and its stand-ins for the codes of silence and the tone."""
    sizes: dict[str, Any] = json.loads((golden_folder() / "shape.json").read_text())
    codes = {
        "prompt_silence_codes": golden()["silence_codes"].tolist(),
        "prompt_tone_codes": golden()["sine_codes"].tolist(),
    }
    return sizes | codes


@cache
def persona_lm() -> MoshiLm:
    config = LmConfig.from_dict(personaplex_config(config_json()))
    return MoshiLm.from_tensors(load_file(golden_folder() / "model.safetensors"), config, torch.float32)


def golden_voices() -> dict[str, Voice]:
    """The same voice by its codes, and from NVIDIA's file."""
    stored = torch.load(golden_folder() / "VOICE0.pt", weights_only=True)
    config = persona_lm().config
    return {
        "codes": voice_of_codes(golden()["voice_codes"], config),
        "file": voice_of_embeddings(stored["embeddings"].flatten(1), stored["cache"][0], config),
    }


def prompt_of(voice: Voice | None, text: list[int], key: str = "key") -> Prompt:
    return Prompt(key, prompt_frames(voice, text, persona_lm().config), None if voice is None else voice.embeddings)

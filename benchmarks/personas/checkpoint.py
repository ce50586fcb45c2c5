"""A PersonaPlex with random weights and one voice, of a size that a CPU serves."""

from __future__ import annotations

import io
import json
from pathlib import Path

import torch
from safetensors.torch import save

from moshi_cluster.tools.checkpoint_sizes import LM_CONFIGS, mimi_config
from moshi_cluster.tools.make_checkpoint import train_tokenizer
from moshi_cluster.tools.random_lm import random_lm
from moshi_cluster.tools.random_mimi import random_mimi

VOICE = "RANDOM"
_SEED = 1
_STEPS = 16  # of the Depth Transformer: PersonaPlex has the user's too
_ROOM_FRAMES = 200  # for text, spacers and what is said
_TOKENIZER_PIECES = 512


def make_persona_checkpoint(folder: Path, size: str, voice_frames: int) -> None:
    """Writes it into an empty folder. size: of `tools.make_checkpoint`; voice_frames: of the voice `VOICE`."""
    config = LM_CONFIGS[size] | {
        "model_type": "personaplex",
        "dep_q": _STEPS,
        "context": voice_frames + _ROOM_FRAMES,
        "prompt_silence_codes": [0] * 8,
        "prompt_tone_codes": [1] * 8,
    }
    mimi = mimi_config(bins=config["card"])
    (folder / config["moshi_name"]).write_bytes(save(random_lm(config, _SEED)))
    (folder / config["mimi_name"]).write_bytes(save(random_mimi(mimi, _SEED)))
    (folder / config["tokenizer_name"]).write_bytes(train_tokenizer(_TOKENIZER_PIECES))
    (folder / config["mimi_config_name"]).write_text(json.dumps(mimi))
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "voices").mkdir()
    (folder / "voices" / f"{VOICE}.pt").write_bytes(_voice(voice_frames, config["dim"], 1 + config["n_q"]))


def _voice(frames: int, dim: int, streams: int) -> bytes:
    """As NVIDIA stores one: what the model reads, and the tokens around the end."""
    random = torch.Generator().manual_seed(_SEED)
    embeddings = torch.randn(frames, 1, 1, dim, generator=random)
    content = io.BytesIO()
    torch.save({"embeddings": embeddings, "cache": torch.zeros(1, streams, 4, dtype=torch.int64)}, content)
    return content.getvalue()

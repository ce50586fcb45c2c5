"""The real lm service around the tiny PersonaPlex of the golden set, with two voices and a tokenizer of its size."""

from __future__ import annotations

import io
import json
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import sentencepiece
import torch
from prometheus_client import CollectorRegistry

from moshi_cluster.models.loading.published import MIMI_NAME
from moshi_cluster.services.lm import loading
from moshi_cluster.services.lm.metrics import LmMetrics
from moshi_cluster.services.lm.server import LmModel, LmService
from moshi_cluster.services.lm.settings import LmSettings
from moshi_cluster.v1 import common_pb2
from tests.golden_set import golden_dir
from tests.models.moshi_lm.personas import config_json, golden_folder

PIECES = 60
_MIMI_CONFIG = "mimi_config.json"
SENTENCES = ["<system> you are a friendly teacher <system>", "you work for a bakery", "speak of rivers and of bread"]
PERSONAS = [
    common_pb2.Persona(text_prompt=text, voice=voice)
    for text, voice in (
        ("you are a teacher", "VOICE0"),
        ("you work for a bakery", "VOICE0.pt"),
        ("", "VOICE1"),
        ("bread", ""),
    )
]


@cache
def _tokenizer() -> bytes:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES * 20),
        model_writer=model,
        vocab_size=PIECES,
        hard_vocab_limit=False,
        minloglevel=2,
        unk_id=0, bos_id=1, eos_id=2, pad_id=3,
    )  # fmt: skip
    return model.getvalue()


def persona_folder(folder: Path) -> Path:
    """A checkpoint laid out as NVIDIA's."""
    shutil.copy(golden_folder() / "model.safetensors", folder)
    config = {"model_type": "personaplex", "version": "7b-v1", "mimi_config_name": _MIMI_CONFIG, **config_json()}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer_spm_32k_3.model").write_bytes(_tokenizer())
    shutil.copy(golden_dir() / "mimi_tiny/mimi.safetensors", folder / MIMI_NAME)
    shutil.copy(golden_dir() / "mimi_tiny" / _MIMI_CONFIG, folder)
    (folder / "voices").mkdir()
    shutil.copy(golden_folder() / "VOICE0.pt", folder / "voices")
    other = torch.load(golden_folder() / "VOICE0.pt", weights_only=True)
    torch.save(other | {"embeddings": other["embeddings"].flip(0)}, folder / "voices" / "VOICE1.pt")
    return folder


class PersonaLm(LmService):
    """folder: made by `persona_folder`."""

    def __init__(self, folder: Path, slots: int = 9, **settings: Any) -> None:
        asked = LmSettings(checkpoint=str(folder), slots=slots, prefill_chunk_frames=16, **settings)
        self.lm_metrics = LmMetrics(CollectorRegistry())

        def load() -> LmModel:
            model = loading.load(asked)
            self.lm_metrics.prompt_cache = model.prompt_cache
            return model

        super().__init__(asked, load, self.lm_metrics)

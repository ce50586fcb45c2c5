"""A checkpoint folder of a few bytes and a pretended hub."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from safetensors.torch import save_file

from moshi_cluster.models.loading import published
from tests.models.loading.fake_hub import FakeHub

WriteFolder = Callable[..., Path]


@pytest.fixture
def write_folder(tmp_path: Path) -> WriteFolder:
    """Writes a folder with the published file names; keyword arguments go to config.json."""

    def write(name: str = "checkpoint", config: dict[str, Any] | None = None) -> Path:
        folder = tmp_path / name
        folder.mkdir(parents=True)
        if config is not None:
            (folder / "config.json").write_text(json.dumps(config))
        save_file({"emb.0.weight": torch.zeros(2, 2)}, folder / published.LM_NAME)
        save_file({"encoder": torch.ones(3)}, folder / published.MIMI_NAME)
        (folder / published.TOKENIZER_NAME).write_bytes(b"pieces")
        return folder

    return write


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    fake = FakeHub()
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fake.download)
    return fake

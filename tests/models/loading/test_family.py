"""Models of Moshi's form say what upstream's programs make them say, loaded as published (tests/golden/README.md)."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from moshi_cluster.models.loading import Checkpoint, FileNames, Part, resolve
from moshi_cluster.models.loading.lm import LmOptions, load_lm
from moshi_cluster.models.moshi_lm import Generator, LmConfig, MoshiLm, Sampling
from moshi_cluster.models.moshi_lm.teacher import teacher_forced

pytestmark = pytest.mark.parity

GREEDY = Sampling(text_temperature=0.0, audio_temperature=0.0)
LOGITS = 5e-4


def found(folder: Path) -> Path:
    if not folder.is_dir():
        pytest.skip(f"the golden set has no {folder.name}")
    return folder


def checkpoint(folder: Path, tmp_path: Path, **config: Any) -> Checkpoint:
    """Of a folder's model.safetensors, with a config.json of its keys and these."""
    made = tmp_path / "config.json"
    made.write_text(json.dumps(json.loads((folder / "config.json").read_text()) | config))
    names = FileNames(config=str(made), lm=str(folder / "model.safetensors"))
    return resolve(None, names, Part.LM_WEIGHTS)


def said(lm: MoshiLm, user_codes: Tensor, history: Tensor | None = None) -> list[list[int]]:
    """Text and own codes of every answer, greedily."""
    generator = Generator(lm, slots=1)
    generator.open(0, GREEDY, history)
    while generator.prefill(0, 64):
        pass
    replies = [generator.step([0], frame[None]) for frame in user_codes]
    return [[int(reply.text), *reply.audio[0].tolist()] for reply in replies]


@pytest.mark.parametrize("name", ["hibiki_1b", "hibiki_2b", "hibiki_zero"])
def test_hibikis_shapes_say_148_frames_as_upstream(name: str, golden_dir: Path, tmp_path: Path) -> None:
    folder = found(golden_dir / "family_tiny" / name)
    lm = load_lm(checkpoint(folder, tmp_path), torch.float32)
    expected = load_file(folder / "outputs.safetensors")
    # The first two rows are before the delays have passed; a session is primed over them when it opens.
    assert said(lm, expected["user_codes"][2:]) == expected["tokens"].tolist()


def personaplex(golden_dir: Path, tmp_path: Path) -> tuple[MoshiLm, dict[str, Tensor]]:
    folder = found(golden_dir / "personaplex_tiny")
    sizes = json.loads((folder / "shape.json").read_text())
    lm = load_lm(checkpoint(folder, tmp_path, **sizes), torch.float32)
    return lm, load_file(folder / "outputs.safetensors")


def test_personaplex_speaks_with_the_first_half_of_its_depth_sets_past_the_ring(
    golden_dir: Path, tmp_path: Path
) -> None:
    lm, expected = personaplex(golden_dir, tmp_path)
    assert (lm.config.dep_q, lm.config.user_codebooks, lm.config.context) == (8, 8, 59)
    # NVIDIA's first call only fills its cache, and it answers a frame later than a session that is primed at opening.
    tokens = said(lm, expected["user_codes"][1:])
    assert tokens[:-1] == expected["tokens_plain"][2:].tolist()


def test_personaplex_takes_its_prompts_as_history(golden_dir: Path, tmp_path: Path) -> None:
    lm, expected = personaplex(golden_dir, tmp_path)
    silence, sine = expected["silence_codes"], expected["sine_codes"]
    pad = [torch.cat((torch.tensor([3]), silence, sine))] * 6
    voice = [torch.cat((torch.tensor([3]), codes, sine)) for codes in expected["voice_codes"]]
    text = [torch.cat((token[None], silence, sine)) for token in expected["text_prompt"]]
    history = torch.stack([*voice, *pad, *text, *pad])[1:]
    assert said(lm, expected["user_codes"], history)[:-1] == expected["tokens_prompted"][1:].tolist()


@pytest.mark.parametrize("fused", [True, False])
def test_adapters_in_float32_say_what_upstream_says(fused: bool, golden_dir: Path, tmp_path: Path) -> None:
    folder, base = found(golden_dir / "lora_tiny"), golden_dir / "lm_tiny"
    for name in ("config.json", "model.safetensors"):
        shutil.copy(base / name, tmp_path)
    options = LmOptions(fuse_lora=fused, lora_scaling=2.0)
    adapters = FileNames(lora=str(folder / "lora.safetensors"))
    lm = load_lm(resolve(str(tmp_path), adapters, Part.LM_WEIGHTS), torch.float32, options=options)
    expected = load_file(folder / "outputs.safetensors")
    user_codes = load_file(base / "outputs_f32.safetensors")["user_codes"].T[1:80]
    assert said(lm, user_codes) == expected["tokens_fused" if fused else "tokens_apart"].tolist()


def test_upstreams_own_forward_test_gives_its_logits(golden_dir: Path) -> None:
    folder = found(golden_dir / "forward_tiny")
    config = LmConfig.from_dict(json.loads((folder / "config.json").read_text()))
    lm = MoshiLm.from_tensors(load_file(folder / "model.safetensors"), config, torch.float32)
    expected = load_file(folder / "out.safetensors")
    for row, codes in enumerate(load_file(folder / "codes.safetensors")["codes"]):
        initial = torch.tensor(config.initial_tokens)
        frames = torch.arange(codes.shape[1])[:, None] - torch.tensor(config.delays)
        late = torch.where(frames >= 0, codes.T.gather(0, frames.clamp(0)), initial)
        forced = teacher_forced(lm, torch.cat((initial[None], late[:-1])), late)
        assert (forced.text_logits - expected["text_logits"][row, 0]).abs().max() < LOGITS
        for codebook, delay in enumerate(config.delays[1:]):
            aligned = forced.audio_logits[delay:, codebook]
            assert (aligned - expected["logits"][row, codebook, : len(aligned)]).abs().max() < LOGITS

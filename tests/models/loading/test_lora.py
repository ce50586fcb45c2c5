"""Adapters: fused or apart they change the model by the same, whatever it is made of."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from moshi_cluster.models.loading import CheckpointError, FileNames, Part, resolve
from moshi_cluster.models.loading.lm import LmOptions, load_lm
from moshi_cluster.models.moshi_lm import LmConfig, MoshiLm
from moshi_cluster.models.moshi_lm.adapters import fuse
from moshi_cluster.models.moshi_lm.teacher import teacher_forced
from moshi_cluster.tools.checkpoint_layouts import as_modules
from tests.models.loading.layout_files import CONFIG, published, write_layout

RANK, SCALING = 4, 0.5
STEPS = 12
LAYERS = (
    "text_linear",
    "linears.1",
    "depformer_in.0",
    "transformer.layers.0.gating.linear_in",
    "transformer.layers.0.self_attn.in_projs.0",
    "depformer.layers.0.self_attn.out_projs.1",
    "depformer.layers.0.gating.1.linear_out",
)


def adapters(scale: float = 0.3) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(11)
    base = as_modules(published(), CONFIG)
    made: dict[str, Tensor] = {}
    for layer in LAYERS:
        out_features, in_features = base[f"{layer}.weight"].shape
        made[f"{layer}.lora_A.weight"] = torch.randn(RANK, in_features, generator=generator) * scale
        made[f"{layer}.lora_B.weight"] = torch.randn(out_features, RANK, generator=generator) * scale
    return made


def changed() -> dict[str, Tensor]:
    """The model that the adapters mean, worked out here."""
    tensors, given = as_modules(published(), CONFIG), adapters()
    for layer in LAYERS:
        a, b = given[f"{layer}.lora_A.weight"], given[f"{layer}.lora_B.weight"]
        tensors[f"{layer}.weight"] = tensors[f"{layer}.weight"].float() + SCALING * (b @ a)
    return tensors


def logits(lm: MoshiLm) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    inputs = torch.randint(0, CONFIG["card"], (STEPS, 1 + CONFIG["n_q"]), generator=generator)
    raw = torch.randint(0, CONFIG["card"], (STEPS, 1 + CONFIG["dep_q"]), generator=generator)
    forced = teacher_forced(lm, inputs, raw)
    return torch.cat([forced.text_logits, forced.audio_logits.flatten(1)], dim=1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A dense checkpoint with adapters beside it."""
    write_layout("pytorch-bf16", tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {"lora": True, "lora_rank": RANK, "lora_scaling": SCALING, "lora_name": "lora.safetensors"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    save_file(adapters(), tmp_path / "lora.safetensors")
    return tmp_path


def load(folder: Path, options: LmOptions | None = None) -> MoshiLm:
    return load_lm(resolve(str(folder), parts=Part.LM), torch.float32, options=options or LmOptions())


def test_fused_and_apart_adapters_give_the_changed_model(folder: Path) -> None:
    config = LmConfig.from_dict(CONFIG)
    expected = logits(MoshiLm.from_tensors(changed(), config, torch.float32))
    plain = logits(MoshiLm.from_tensors(published(), config, torch.float32))
    assert (plain - expected).abs().max() > 1
    assert torch.allclose(logits(load(folder, LmOptions(fuse_lora=False))), expected, atol=1e-3)
    # Not rounded to the type of the file, bfloat16.
    assert torch.allclose(logits(load(folder)), expected, atol=1e-3)


def test_adapters_of_a_quantised_model_stay_apart(folder: Path) -> None:
    write_layout("mlx-q8", folder)
    config = CONFIG | {"moshi_name": "model.q8.safetensors", "tokenizer_name": "tokenizer.model"}
    (folder / "config.json").write_text(json.dumps(config | {"lora_name": "lora.safetensors", "lora_scaling": SCALING}))
    expected = logits(MoshiLm.from_tensors(changed(), LmConfig.from_dict(CONFIG), torch.float32))
    assert (logits(load(folder)) - expected).square().mean().sqrt() < 0.1


def test_what_is_quantised_on_load_has_the_adapters_in_it(folder: Path) -> None:
    expected = logits(MoshiLm.from_tensors(changed(), LmConfig.from_dict(CONFIG), torch.float32))
    for options in (LmOptions("int8"), LmOptions("int8", fuse_lora=False)):
        assert (logits(load(folder, options)) - expected).square().mean().sqrt() < 0.2


def stacked(given: dict[str, Tensor]) -> dict[str, Tensor]:
    """The older spelling: attention's adapters of all steps in blocks of rows."""
    left = {name: tensor for name, tensor in given.items() if "self_attn" not in name}
    stem = "transformer.layers.0.self_attn.in_proj"
    for side in "AB":
        left[f"{stem}.lora_{side}.weight"] = given[f"{stem}s.0.lora_{side}.weight"]
        one = given[f"depformer.layers.0.self_attn.out_projs.1.lora_{side}.weight"]
        both = torch.cat([torch.zeros_like(one), one])
        left[f"depformer.layers.0.self_attn.out_proj.lora_{side}.weight"] = both
    return left


def among_the_lm_s_own(given: dict[str, Tensor]) -> dict[str, Tensor]:
    """As upstream holds them in memory: the layer's own weight is `frozen_W`."""
    base = as_modules(published(), CONFIG)
    for layer in LAYERS:
        base[f"{layer}.frozen_W.weight"] = base.pop(f"{layer}.weight")
    return {name: tensor.contiguous() for name, tensor in (base | given).items()}


def test_every_spelling_of_adapters_gives_the_same_model(folder: Path) -> None:
    expected = logits(load(folder))
    save_file(stacked(adapters()), folder / "lora.safetensors")
    assert torch.equal(logits(load(folder)), expected)
    save_file(among_the_lm_s_own(adapters()), folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    del config["lora_name"]
    (folder / "config.json").write_text(json.dumps(config))
    assert torch.equal(logits(load(folder)), expected)


def test_tuned_embeddings_take_the_place_of_the_lm_s(folder: Path) -> None:
    tuned = torch.randn(CONFIG["card"] + 1, CONFIG["dim"])
    save_file(adapters() | {"emb.1.weight": tuned}, folder / "lora.safetensors")
    expected = changed() | {"emb.1.weight": tuned}
    lm = MoshiLm.from_tensors(expected, LmConfig.from_dict(CONFIG), torch.float32)
    assert torch.allclose(logits(load(folder, LmOptions(fuse_lora=False))), logits(lm), atol=1e-3)


def test_a_file_can_be_given_beside_any_checkpoint(folder: Path, tmp_path: Path) -> None:
    expected = logits(load(folder))
    (folder / "lora.safetensors").rename(folder / "mine.safetensors")
    config = json.loads((folder / "config.json").read_text())
    del config["lora_name"]
    (folder / "config.json").write_text(json.dumps(config))
    checkpoint = resolve(str(folder), FileNames(lora=str(folder / "mine.safetensors")), Part.LM)
    assert torch.equal(logits(load_lm(checkpoint, torch.float32)), expected)


Change = Callable[[dict[str, Tensor]], dict[str, Tensor]]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda t: t | {"transformer.layers.7.gating.linear_in.lora_A.weight": torch.zeros(4, 64)}, "no such layer"),
        (lambda t: t | {"head.weight": torch.zeros(4, 64)}, r"head\.weight: neither an adapter nor a tensor of the LM"),
        (lambda t: {}, "no adapters"),
        (
            lambda t: t | {"linears.1.lora_A.weight": torch.zeros(4, 65)},
            r"linears\.1\.lora_A\.weight: expected the shape",
        ),
        (
            lambda t: {name: tensor for name, tensor in t.items() if name != "linears.1.lora_B.weight"},
            r"linears\.1\.lora_B\.weight: missing",
        ),
    ],
)
def test_adapters_that_do_not_fit_are_named(change: Change, complaint: str, folder: Path) -> None:
    save_file(change(adapters()), folder / "lora.safetensors")
    with pytest.raises(CheckpointError, match=rf"lora\.safetensors: .*{complaint}"):
        load(folder)


def test_a_scaling_that_nothing_says_is_asked_for_and_one_that_is_set_is_taken(folder: Path) -> None:
    expected = logits(load(folder))
    config = json.loads((folder / "config.json").read_text())
    for key in ("lora", "lora_scaling"):
        del config[key]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="adapters: no scaling: .* or set lora_scaling"):
        load(folder)
    assert torch.equal(logits(load(folder, LmOptions(lora_scaling=SCALING))), expected)
    (folder / "config.json").write_text(json.dumps(config | {"lora": "yes"}))
    with pytest.raises(CheckpointError, match="lora: expected true or false, found 'yes'"):
        load(folder)


def test_upstreams_scaling_is_taken_where_config_json_has_adapters_and_does_not_say(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    del config["lora_scaling"]
    (folder / "config.json").write_text(json.dumps(config))
    assert torch.equal(logits(load(folder)), logits(load(folder, LmOptions(lora_scaling=2.0))))


def test_promised_adapters_that_are_nowhere_are_missed(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    del config["lora_name"]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="config.json says lora"):
        load(folder)


def test_fusing_adds_the_product() -> None:
    weight, a, b = torch.eye(3), torch.tensor([[1.0, 0.0, 2.0]]), torch.tensor([[1.0], [0.0], [-1.0]])
    assert fuse(weight, (a, b)).tolist() == [[2.0, 0.0, 2.0], [0.0, 1.0, 0.0], [-1.0, 0.0, -1.0]]

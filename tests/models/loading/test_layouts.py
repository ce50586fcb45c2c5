"""Every published layout loads to the model it was made from."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import Tensor

from moshi_cluster.models.layers.quantised import QuantisedMatrix
from moshi_cluster.models.loading import CheckpointError, Part, resolve
from moshi_cluster.models.loading.containers import open_tensors
from moshi_cluster.models.loading.lm import load_lm
from moshi_cluster.models.loading.names import Names, PublishedTensors, inspect_names
from moshi_cluster.models.loading.quantised_layouts import StoredTensors
from moshi_cluster.models.moshi_lm import LmConfig, MoshiLm
from moshi_cluster.models.moshi_lm.canonical_tensors import CanonicalTensors
from moshi_cluster.tools.checkpoint_layouts import LAYOUTS, as_candle, as_mlx, as_modules
from tests.models.loading.layout_files import ALL, CONFIG, published, write_layout
from tests.models.moshi_lm.conversation import GREEDY, alone
from tests.models.moshi_lm.random_model import HIBIKI_LIKE, KINDS, random_lm, random_tensors

WITH_DEPTH = [kind for kind, config in KINDS.items() if config["dep_q"]]
NAMES = {"pytorch": Names.PYTORCH, "mlx": Names.MLX, "candle": Names.CANDLE}
MAPS = Path("/proc/self/maps")
# Largest relative error of a decoded weight, against the largest of its row.
ERROR = {"bf16": 0.0, "int8": 0.006, "q8": 0.012, "q4": 0.13}


@pytest.mark.parametrize("kind", WITH_DEPTH)
@pytest.mark.parametrize("make", [as_modules, as_mlx, as_candle])
def test_every_code_base_s_names_give_the_same_model(kind: str, make: object) -> None:
    config = LmConfig.from_dict(KINDS[kind])
    tensors = make(random_tensors(KINDS[kind]), KINDS[kind])  # type: ignore[operator]
    renamed = PublishedTensors(tensors, inspect_names("file", tensors), config.depformer_weights_per_step_schedule)
    lm = MoshiLm.from_tensors(renamed, config, torch.float32)
    assert torch.equal(alone(lm, GREEDY, 1, 6), alone(random_lm(kind), GREEDY, 1, 6))


@pytest.mark.parametrize("kind", WITH_DEPTH)
@pytest.mark.parametrize("make", [as_mlx, as_candle])
def test_a_published_name_is_found_again_under_the_file_s_own(kind: str, make: object) -> None:
    config = LmConfig.from_dict(KINDS[kind])
    tensors = make(random_tensors(KINDS[kind]), KINDS[kind])  # type: ignore[operator]
    schedule = config.depformer_weights_per_step_schedule
    renamed = PublishedTensors(tensors, inspect_names("file", tensors), schedule)
    for published_name in renamed:
        stored = renamed.stored_name(published_name)
        assert stored in tensors
        less = {name: tensor for name, tensor in tensors.items() if name != stored}
        lost = PublishedTensors(less, inspect_names("file", tensors), schedule)
        if published_name not in lost:  # no copy in a later step
            assert lost.stored_name(published_name) == stored


@pytest.mark.parametrize("layout", ALL)
def test_every_layout_is_recognised_and_decodes_to_the_weights_it_was_made_from(layout: str, tmp_path: Path) -> None:
    file = open_tensors(write_layout(layout, tmp_path))
    assert inspect_names(file.path, file.entries) is NAMES[layout.partition("-")[0]]
    config = LmConfig.from_dict(resolve(str(tmp_path), parts=Part.LM).lm_config)
    renamed = PublishedTensors(
        StoredTensors(file), inspect_names(file.path, file.entries), config.depformer_weights_per_step_schedule
    )
    found, expected = CanonicalTensors(renamed, config.depth_blocks), CanonicalTensors(published(), config.depth_blocks)
    assert set(found) == set(expected)
    for name, weight in expected.items():
        assert isinstance(weight, Tensor)
        decoded = found[name]
        error = ERROR[layout.split("-")[1]] if isinstance(decoded, QuantisedMatrix) else 0.0
        dense = decoded.dense() if isinstance(decoded, QuantisedMatrix) else decoded.float()
        difference = (dense.view(weight.shape) - weight.float()).abs()
        assert (difference.amax(-1) <= error * weight.float().abs().amax(-1)).all(), name


@pytest.mark.parametrize("layout", [layout for layout in ALL if "bf16" in layout])
def test_dense_layouts_load_to_the_same_model(layout: str, tmp_path: Path) -> None:
    write_layout(layout, tmp_path)
    lm = load_lm(resolve(str(tmp_path), parts=Part.LM), torch.float32)
    original = MoshiLm.from_tensors(published(), lm.config, torch.float32)
    assert torch.equal(alone(lm, GREEDY, 1, 6), alone(original, GREEDY, 1, 6))


@pytest.mark.parametrize("layout", [layout for layout in ALL if "bf16" not in layout])
def test_quantised_layouts_take_the_memory_that_their_bits_say(layout: str, tmp_path: Path) -> None:
    path = write_layout(layout, tmp_path)
    dense_bytes = sum(2 * tensor.numel() for tensor in published().values())
    embeddings_bytes = sum(2 * tensor.numel() for name, tensor in published().items() if "emb" in name)
    # The bits of codes, scales and biases; of dense embeddings 16.
    bits = {"pytorch-int8": 8, "mlx-q8": 8.5, "mlx-q4": 5, "candle-q8": 8.5}[layout.removesuffix("-modules")]
    dense_share = embeddings_bytes if layout.startswith("pytorch") else 0
    expected = dense_share + (dense_bytes - dense_share) * bits / 16
    assert path.stat().st_size == pytest.approx(expected, rel=0.03)


def test_a_norm_that_differs_between_the_steps_is_named() -> None:
    tensors = as_mlx(published(), CONFIG)
    tensors["depformer.slices.1.transformer.layers.0.norm1.weight"] += 1
    renamed = PublishedTensors(tensors, Names.MLX, [0, 1])
    with pytest.raises(ValueError, match=r"^depformer\.slices\.1\.transformer\.layers\.0\.norm1\.weight: differs from"):
        _ = renamed["depformer.layers.0.norm1.alpha"]


def test_shared_weights_that_differ_between_the_steps_are_named() -> None:
    tensors = as_mlx(random_tensors(HIBIKI_LIKE), HIBIKI_LIKE)
    name = "depformer.slices.2.transformer.layers.0.gating.linear_in.weight"  # a copy of slice 1's
    tensors[name] = tensors[name] + 1
    with pytest.raises(ValueError, match=rf"^{re.escape(name)}: differs from depformer\.slices\.1\."):
        MoshiLm.from_tensors(
            PublishedTensors(tensors, Names.MLX, [0, 1, 1]), LmConfig.from_dict(HIBIKI_LIKE), torch.float32
        )


def test_a_step_that_the_configuration_does_not_have_is_named() -> None:
    with pytest.raises(
        ValueError, match=r"^depformer\.1\.\S+: step 1 of the Depth Transformer, the configuration has 1"
    ):
        PublishedTensors(as_candle(published(), CONFIG), Names.CANDLE, [0])


@pytest.mark.parametrize("layout", ["mlx-q8", "candle-q8", "pytorch-int8"])
def test_a_wrong_shape_is_said_with_the_file_s_own_name(layout: str, tmp_path: Path) -> None:
    write_layout(layout, tmp_path)
    checkpoint = resolve(str(tmp_path), parts=Part.LM)
    checkpoint.lm_config["depformer_dim"] = 128  # type: ignore[index]
    own = {"mlx-q8": r"depformer\.slices\.0\.emb", "candle-q8": r"depformer\.0\.emb", "pytorch-int8": "depformer_text"}
    with pytest.raises(CheckpointError, match=rf": {own[layout]}.*weight: expected the shape \[4097, 128\]"):
        load_lm(checkpoint)


@pytest.mark.parametrize(
    ("names", "complaint"),
    [
        (["quantizer.rvq_first.input_proj.weight"], "this is Mimi"),
        (["linears.0.lora_A.weight"], "these are adapters"),
        (["bert.weight"], "not a Moshi LM"),
        ([], "not a Moshi LM"),
    ],
)
def test_files_of_something_else_are_refused(names: list[str], complaint: str) -> None:
    with pytest.raises(CheckpointError, match=complaint):
        inspect_names("file", names)


def test_every_layout_has_the_name_it_is_published_under() -> None:
    assert {name for _, name in LAYOUTS.values()} == {
        "model.safetensors",
        "model.q8.safetensors",
        "model.q4.safetensors",
        "model.q8.gguf",
    }


@pytest.mark.skipif(not MAPS.exists(), reason="needs /proc, where Linux lists the files that are mapped")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("layout", ALL)
def test_nothing_of_the_file_stays_in_memory_beside_the_model(layout: str, dtype: torch.dtype, tmp_path: Path) -> None:
    path = write_layout(layout, tmp_path)
    lm = load_lm(resolve(str(tmp_path), parts=Part.LM), dtype)
    assert str(path) not in MAPS.read_text()
    assert lm.dtype == dtype

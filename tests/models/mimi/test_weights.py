"""Every spelling of a checkpoint loads, and what cannot load is named."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from moshi_cluster.models.mimi import Mimi, MimiConfig
from tests.models.mimi import tiny

CONV = "encoder.model.3.conv.conv.weight"
ATTENTION = "decoder_transformer.transformer.layers.1.self_attn.in_proj_weight"


def respelled(*changes: tuple[str, str]) -> dict[str, Tensor]:
    tensors = {}
    for name, tensor in tiny.tensors().items():
        for published, spelling in changes:
            name = name.replace(published, spelling)
        tensors[name] = tensor
    assert tensors.keys() != tiny.tensors().keys()
    return tensors


def with_weight_norm() -> dict[str, Tensor]:
    """Every SEANet convolution as direction and length; the direction's own length is arbitrary."""
    tensors = {}
    for name, tensor in tiny.tensors().items():
        if name.endswith((".conv.conv.weight", ".convtr.convtr.weight")) and "sample" not in name:
            tensors[f"{name}_v"] = tensor * 3
            tensors[f"{name}_g"] = tensor.flatten(1).norm(dim=1)[:, None, None]
        else:
            tensors[name] = tensor
    return tensors


def latents_and_pcm(tensors: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    mimi = Mimi.from_tensors(tensors, tiny.config())
    pcm = tiny.voice("user_a")[:, : 3 * tiny.FRAME_SAMPLES]
    codes = mimi.encode(pcm)
    return mimi.latents(pcm), mimi.decode(codes)


@pytest.mark.parametrize(
    "tensors",
    [
        respelled((".in_proj_weight", ".in_projs.0.weight"), (".out_proj.weight", ".out_projs.0.weight")),
        respelled(("_initialized", "inited"), ("cluster_usage", "cluster_size"), ("embedding_sum", "embed_avg")),
        respelled(("embedding_sum", "embed_sum")),
        with_weight_norm(),
        {name: tensor.double() for name, tensor in tiny.tensors().items()},
    ],
    ids=["modules", "older codebooks", "embed_sum", "weight norm", "float64"],
)
def test_every_spelling_gives_the_same_codec(tensors: dict[str, Tensor]) -> None:
    expected_latents, expected_pcm = latents_and_pcm(tiny.tensors())
    latents, pcm = latents_and_pcm(tensors)
    torch.testing.assert_close(latents, expected_latents, atol=1e-5, rtol=0)
    torch.testing.assert_close(pcm, expected_pcm, atol=1e-5, rtol=0)


def test_half_precision_files_run_in_float32() -> None:
    mimi = Mimi.from_tensors({name: tensor.bfloat16() for name, tensor in tiny.tensors().items()}, tiny.config())
    assert mimi.latents(tiny.voice("user_a")[:, :1920]).dtype == torch.float32


@pytest.mark.parametrize("name", [CONV, ATTENTION, "upsample.convtr.convtr.convtr.weight"])
def test_a_missing_tensor_is_named(name: str) -> None:
    tensors = {key: tensor for key, tensor in tiny.tensors().items() if key != name}
    with pytest.raises(ValueError, match=f"no tensor {name}"):
        Mimi.from_tensors(tensors, tiny.config())


@pytest.mark.parametrize("name", [CONV, ATTENTION, "quantizer.rvq_rest.vq.layers.3._codebook.cluster_usage"])
def test_a_tensor_of_another_shape_is_named(name: str) -> None:
    tensors = {**tiny.tensors(), name: torch.zeros(3, 5)}
    with pytest.raises(ValueError, match=rf"{name} has shape \[3, 5\], expected \["):
        Mimi.from_tensors(tensors, tiny.config())


def test_codebooks_that_are_not_active_need_not_be_there() -> None:
    """With 8 active the acoustic levels 7 to 30 are never looked at."""
    unused = tuple(f".rvq_rest.vq.layers.{level}." for level in range(7, 31))
    tensors = {name: tensor for name, tensor in tiny.tensors().items() if not any(part in name for part in unused)}
    assert Mimi.from_tensors(tensors, tiny.config(), codebooks=8).codebooks == 8


def test_the_published_sizes_are_the_defaults() -> None:
    config = MimiConfig.from_dict({})
    assert config == MimiConfig()
    assert (config.frame_samples, config.hop_samples, config.positions_per_frame, config.head_width) == (
        1920,
        960,
        2,
        64,
    )


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ({"channels": 2}, "channels"),
        ({"seanet": {"norm": "weight_norm"}}, "seanet.norm"),
        ({"transformer": {"gating": "silu"}}, "transformer.gating"),
        ({"seanet": {"dimension": 64}, "transformer": {"d_model": 32}}, "transformer.d_model"),
    ],
)
def test_a_codec_of_another_structure_is_refused(given: dict[str, object], key: str) -> None:
    with pytest.raises(ValueError, match=f"mimi config: {key} = "):
        MimiConfig.from_dict(given)

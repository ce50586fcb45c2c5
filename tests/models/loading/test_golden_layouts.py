"""Every quantised golden file decodes to what upstream's arithmetic decodes it to, and speaks as that does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from moshi_cluster.models.layers.quantised import QuantisedMatrix
from moshi_cluster.models.loading import FileNames, Part, resolve
from moshi_cluster.models.loading.containers import open_tensors
from moshi_cluster.models.loading.lm import load_lm, published_tensors
from moshi_cluster.models.moshi_lm import Generator, LmConfig, MoshiLm, Sampling
from moshi_cluster.models.moshi_lm.canonical_tensors import CanonicalTensors
from moshi_cluster.models.moshi_lm.teacher import Forced, teacher_forced

pytestmark = pytest.mark.parity

GREEDY = Sampling(text_temperature=0.0, audio_temperature=0.0)
DECODED = 1e-6  # of the largest value
FLOAT32_LOGITS = 5e-4
NEAR_TIE = 1e-4  # above what float32 implementations differ by (2e-5 seen)
MLX_STEPS = 40  # its window is one longer than ours


@dataclass(frozen=True)
class Variant:
    """A file of lm_tiny_quant and what upstream says about it."""

    file: str
    reference: str
    upstreams_own: str | None  # with other activations: close, not equal
    rms: float = 0.0  # of the difference to it, against bfloat16 activations here
    most: float = 0.0

    def path(self, golden_dir: Path) -> Path:
        return golden_dir / "lm_tiny_quant" / self.file

    def tensors(self, golden_dir: Path, what: str) -> dict[str, Tensor]:
        return load_file(golden_dir / "lm_tiny_quant" / f"{what}.safetensors")


VARIANTS = (
    Variant("model.q8.safetensors", "mlx_q8", "mlx_q8", rms=0.25, most=1.5),
    Variant("model.q4.safetensors", "mlx_q4", "mlx_q4", rms=0.25, most=1.5),
    Variant("model.int8.safetensors", "int8", "bnb_int8", rms=0.15, most=1.0),
    Variant("model.q8.gguf", "gguf_q8", None),
)


@pytest.fixture(scope="module", params=VARIANTS, ids=lambda variant: variant.reference)
def variant(request: pytest.FixtureRequest) -> Variant:
    found: Variant = request.param
    return found


def load(variant: Variant, golden_dir: Path, dtype: torch.dtype) -> MoshiLm:
    config = golden_dir / "lm_tiny_quant" / "config.int8.json" if variant.reference == "int8" else None
    files = FileNames(config=config and str(config), lm=str(variant.path(golden_dir)))
    return load_lm(resolve(str(golden_dir / "lm_tiny"), files, Part.LM), dtype)


def forced(lm: MoshiLm, golden_dir: Path) -> Forced:
    expected = load_file(golden_dir / "lm_tiny" / "outputs_f32.safetensors")
    raw = torch.cat([expected["raw_text"][:, None], expected["raw_audio"]], dim=1)
    return teacher_forced(lm, expected["model_inputs"], raw)


def published_samples(variant: Variant, golden_dir: Path) -> Iterator[tuple[str, Tensor]]:
    """Decoded rows under the file's own name of the tensor."""
    for name, rows in variant.tensors(golden_dir, f"dequant_samples_{variant.reference}").items():
        yield (name if name.endswith("weight") else f"{name}.weight"), rows


def test_decoded_tensors_are_upstreams(variant: Variant, golden_dir: Path) -> None:
    config = LmConfig.from_dict(resolve(str(golden_dir / "lm_tiny"), parts=Part.LM).lm_config)
    tensors = published_tensors(open_tensors(variant.path(golden_dir)), config)
    parts = CanonicalTensors(tensors, config.depth_blocks)
    by_stored_name = {tensors.stored_name(name): tensors[name] for name in tensors} | dict(parts)
    for name, rows in published_samples(variant, golden_dir):
        found = by_stored_name[name]
        ours = found.dense() if isinstance(found, QuantisedMatrix) else found.float()
        assert (ours[: len(rows)] - rows).abs().max() <= DECODED * rows.abs().max(), name


def test_logits_are_those_of_the_decoded_weights(variant: Variant, golden_dir: Path) -> None:
    ours = forced(load(variant, golden_dir, torch.float32), golden_dir)
    expected = variant.tensors(golden_dir, f"outputs_ref_{variant.reference}")
    kept = expected["keep_steps"]
    assert (ours.text_logits[kept] - expected["forced_text_logits"]).abs().max() < FLOAT32_LOGITS
    assert (ours.audio_logits[kept] - expected["forced_dep_logits"]).abs().max() < FLOAT32_LOGITS


def test_greedy_tokens_are_those_of_the_decoded_weights(variant: Variant, golden_dir: Path) -> None:
    expected = variant.tensors(golden_dir, f"outputs_ref_{variant.reference}")
    user_codes = load_file(golden_dir / "lm_tiny" / "outputs_f32.safetensors")["user_codes"]
    margins = torch.cat([expected["text_margin"][:, None], expected["dep_margin"]], dim=1).amin(dim=1)
    near_ties = (margins < NEAR_TIE).nonzero().flatten().tolist()
    sure = near_ties[0] if near_ties else len(margins)
    assert sure > 1
    generator = Generator(load(variant, golden_dir, torch.float32), slots=1)
    generator.open(0, GREEDY)
    while generator.prefill(0, 1):
        pass
    for frame, tokens in zip(user_codes.T[1:sure], expected["tokens"][1:sure], strict=True):
        reply = generator.step([0], frame[None])
        assert torch.cat([reply.text, reply.audio[0]]).tolist() == tokens.tolist()


def test_bfloat16_is_close_to_what_upstream_s_packages_give(variant: Variant, golden_dir: Path) -> None:
    ours = forced(load(variant, golden_dir, torch.bfloat16), golden_dir)
    files = [(f"outputs_ref_{variant.reference}", 0.1, 0.8)]
    if variant.upstreams_own is not None:
        files.append((f"outputs_{variant.upstreams_own}", variant.rms, variant.most))
    for file, rms, most in files:
        expected = variant.tensors(golden_dir, file)
        early = expected["keep_steps"] < MLX_STEPS
        kept = expected["keep_steps"][early]
        for name, logits in (("text", ours.text_logits), ("dep", ours.audio_logits)):
            difference = logits[kept] - expected[f"forced_{name}_logits"][early]
            assert difference.square().mean().sqrt() < rms, (file, name)
            assert difference.abs().max() < most, (file, name)

"""Equal to upstream's own computation on the tiny model (tests/golden/README.md)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from moshi_cluster.models.moshi_lm import Generator, LmConfig, MoshiLm, Sampling
from moshi_cluster.models.moshi_lm.teacher import Forced, teacher_forced

pytestmark = pytest.mark.parity

GREEDY = Sampling(text_temperature=0.0, audio_temperature=0.0)
FLOAT32_LOGITS = 5e-4
BFLOAT16_RMS, BFLOAT16_MAX, BFLOAT16_SAME_ARGMAX = 0.1, 0.8, 0.95


@pytest.fixture(scope="module")
def load(golden_dir: Path) -> Callable[[torch.dtype], MoshiLm]:
    config = LmConfig.from_dict(json.loads((golden_dir / "lm_tiny" / "config.json").read_text()))
    tensors = load_file(golden_dir / "lm_tiny" / "model.safetensors")
    return lambda dtype: MoshiLm.from_tensors(tensors, config, dtype)


@pytest.fixture(scope="module")
def lm(load: Callable[[torch.dtype], MoshiLm]) -> MoshiLm:
    return load(torch.float32)


@pytest.fixture(scope="module")
def expected(golden_dir: Path) -> dict[str, Tensor]:
    return load_file(golden_dir / "lm_tiny" / "outputs_f32.safetensors")


@pytest.fixture(scope="module")
def forced(lm: MoshiLm, expected: dict[str, Tensor]) -> Forced:
    return teacher_forced(lm, expected["model_inputs"], raw_tokens(expected))


def raw_tokens(expected: dict[str, Tensor]) -> Tensor:
    return torch.cat([expected["raw_text"][:, None], expected["raw_audio"]], dim=1)


def primed(generator: Generator, slot: int) -> None:
    generator.open(slot, GREEDY)
    while generator.prefill(slot, 1):
        pass


def test_hidden_states_and_logits_are_upstreams_past_the_ring(forced: Forced, expected: dict[str, Tensor]) -> None:
    kept = expected["keep_steps"]
    assert (forced.hidden[kept] - expected["transformer_out"]).abs().max() < FLOAT32_LOGITS
    assert (forced.text_logits[kept] - expected["text_logits"]).abs().max() < FLOAT32_LOGITS
    assert (forced.audio_logits[kept] - expected["dep_logits"]).abs().max() < FLOAT32_LOGITS


def test_every_layer_gives_what_upstreams_gives(forced: Forced, expected: dict[str, Tensor]) -> None:
    layers = forced.layers[:, [0, 1, 45]].transpose(0, 1)
    assert (layers - expected["layer_out_steps_0_1_45"]).abs().max() < FLOAT32_LOGITS


def test_120_greedy_frames_are_upstreams_exactly(lm: MoshiLm, expected: dict[str, Tensor]) -> None:
    generator = Generator(lm, slots=1)
    primed(generator, 0)
    # Upstream never reads its first user frame and returns nothing for it: ours is primed and starts with the second.
    for frame, tokens in zip(expected["user_codes"].T[1:], expected["tokens"][1:], strict=True):
        reply = generator.step([0], frame[None])
        assert torch.cat([reply.text, reply.audio[0]]).tolist() == tokens.tolist()


def test_bfloat16_logits_are_close_to_float32(
    load: Callable[[torch.dtype], MoshiLm], golden_dir: Path, expected: dict[str, Tensor]
) -> None:
    kept = expected["keep_steps"]
    ours = teacher_forced(load(torch.bfloat16), expected["model_inputs"], raw_tokens(expected))
    upstream = load_file(golden_dir / "lm_tiny" / "outputs_bf16.safetensors")
    for logits, reference, upstreams in (
        (ours.text_logits[kept], expected["text_logits"], upstream["forced_text_logits"]),
        (ours.audio_logits[kept], expected["dep_logits"], upstream["forced_dep_logits"]),
    ):
        for other in (reference, upstreams):
            assert (logits - other).square().mean().sqrt() < BFLOAT16_RMS
            assert (logits - other).abs().max() < BFLOAT16_MAX
        assert (logits.argmax(-1) == reference.argmax(-1)).float().mean() >= BFLOAT16_SAME_ARGMAX


def test_a_batch_with_pauses_and_a_reset_gives_every_row_its_own_tokens(lm: MoshiLm, golden_dir: Path) -> None:
    batch = load_file(golden_dir / "lm_tiny" / "batch3.safetensors")
    rows, steps = batch["exec_mask"].shape
    generator = Generator(lm, slots=rows)
    fresh = set(range(rows))  # upstream spends a call on what priming does at open
    for slot in fresh:
        primed(generator, slot)
    for step in range(steps):
        for slot in batch["reset_before"][:, step].nonzero()[:, 0].tolist():
            generator.close(slot)
            primed(generator, slot)
            fresh.add(slot)
        running = batch["exec_mask"][:, step].nonzero()[:, 0].tolist()
        stepped = [slot for slot in running if slot not in fresh]
        fresh -= set(running)
        if not stepped:
            continue
        reply = generator.step(stepped, batch["user_codes"][stepped, :, step])
        assert torch.cat([reply.text[:, None], reply.audio], 1).tolist() == batch["tokens"][stepped, step].tolist()

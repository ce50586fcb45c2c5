"""Bytes and operations, counted by hand."""

import pytest
import torch

from benchmarks.offline.floors import Work, lm_work, mimi_work
from benchmarks.offline.rates import Rates
from moshi_cluster.models.mimi import MimiConfig

MIB = 2**20


def test_lm_step_reads_weights_once_and_keys_and_values_per_session() -> None:
    tensors = {"text_emb.weight": torch.empty(50, 10), "linears.0.weight": torch.empty(10, 10)}
    work = lm_work(tensors, {"num_layers": 3, "dim": 10}, batch=2, held_frames=7)
    keys_and_values = 2 * 7 * 3 * 2 * 10
    assert work == Work(2 * (100 + keys_and_values), 2 * (2 * 100 + keys_and_values), torch.bfloat16)


@pytest.mark.parametrize(
    ("name", "steps"),
    [
        ("encoder.model.0.conv.conv.weight", 1920),
        ("encoder.model.1.block.3.conv.conv.weight", 1920),
        ("encoder.model.3.conv.conv.weight", 480),
        ("encoder.model.12.conv.conv.weight", 2),
        ("encoder.model.14.conv.conv.weight", 2),
        ("encoder_transformer.transformer.layers.0.linear1.weight", 2),
        ("downsample.conv.conv.conv.weight", 1),
        ("quantizer.rvq_first.vq.layers.0._codebook.embedding_sum", 1),
        ("quantizer.rvq_rest.vq.layers.6._codebook.embedding_sum", 1),
        ("quantizer.rvq_rest.vq.layers.7._codebook.embedding_sum", 0),  # the ninth codebook is not active
        ("quantizer.rvq_rest.vq.layers.6._codebook.cluster_usage", 0),
        ("quantizer.rvq_rest.output_proj.weight", 1),
        ("decoder.model.0.conv.conv.weight", 2),
        ("decoder.model.2.convtr.convtr.weight", 2),
        ("decoder.model.3.block.1.conv.conv.weight", 16),
        ("decoder.model.11.convtr.convtr.weight", 480),
        ("decoder.model.14.conv.conv.weight", 1920),
    ],
)
def test_codec_frame_multiplies_by_a_weight_as_often_as_its_layer_steps(name: str, steps: int) -> None:
    work = mimi_work({name: torch.empty(3, 5)}, MimiConfig(), batch=2, held_positions=0)
    assert work == Work(4 * 15 * (steps > 0), 2 * 2 * 15 * steps, torch.float32)


def test_codec_frame_reads_the_keys_and_values_of_both_transformers() -> None:
    config = MimiConfig()
    work = mimi_work({}, config, batch=2, held_positions=250)
    keys_and_values = 2 * 2 * config.layers * 2 * config.latent_width * 250
    assert work == Work(4 * keys_and_values, 2 * keys_and_values * config.positions_per_frame, torch.float32)


def test_floor_takes_the_rate_of_the_largest_buffer_that_is_not_larger() -> None:
    rates = Rates({4: 100.0, 16: 10.0}, {torch.float32: 50.0})
    assert rates.read_ms(8 * MIB) == pytest.approx(8 * MIB / 100e6)
    assert rates.read_ms(16 * MIB) == pytest.approx(16 * MIB / 10e6)
    assert rates.read_ms(1 * MIB) == pytest.approx(1 * MIB / 100e6)
    assert Work(16 * MIB, 1e9, torch.float32).floor_ms(rates) == pytest.approx((16 * MIB / 10e6, 20.0))


def test_the_better_of_two_measurements_counts() -> None:
    one = Rates({4: 100.0, 16: 10.0}, {torch.float32: 50.0})
    other = Rates({4: 90.0, 16: 30.0}, {torch.float32: 60.0})
    assert one.or_better(other) == other.or_better(one) == Rates({4: 100.0, 16: 30.0}, {torch.float32: 60.0})

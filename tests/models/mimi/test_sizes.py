"""The codec's memory by formula is what its tensors take."""

from __future__ import annotations

from functools import cache

import pytest
import torch

from benchmarks.offline.model_sizes import MODEL_SIZES
from moshi_cluster.models.mimi import Mimi, MimiConfig
from moshi_cluster.models.mimi.sizes import CodecRoom, CodecSize, history_floats
from moshi_cluster.models.mimi.static import static_decoder, static_encoder
from tests.models.peak_memory import PeakMemory

HALVES = (static_encoder, static_decoder)
ROUNDING = 0.001  # of the allocator
CODECS = [size for size in MODEL_SIZES if size.kind == "mimi"]
codecs = pytest.mark.parametrize("name", [size.name for size in CODECS])


@cache
def on_meta(name: str) -> Mimi:
    size = next(size for size in CODECS if size.name == name)
    tensors = {key: tensor.to("meta") for key, tensor in size.tensors(torch.device("cpu")).items()}
    return Mimi.from_tensors(tensors, MimiConfig.from_dict(size.config), device="meta")


@codecs
def test_what_convolutions_remember_is_counted_from_the_configuration(name: str) -> None:
    mimi = on_meta(name)
    assert history_floats(mimi.config) == (mimi.latent_encoder.history.floats, mimi.latent_decoder.history.floats)


@codecs
def test_a_session_is_what_its_slot_takes(name: str) -> None:
    mimi = on_meta(name)
    taken = []
    for slots in (7, 107):
        with PeakMemory() as memory:
            kept = [half(mimi, slots, [16]) for half in HALVES]
        taken.append(memory.bytes)
        del kept
    size = CodecSize(mimi.config).session_bytes
    assert (taken[1] - taken[0]) / 100 == pytest.approx(size, rel=ROUNDING)


@codecs
@pytest.mark.parametrize("rows", [16, 128])
def test_a_step_is_planned_with_its_temporaries(name: str, rows: int) -> None:
    mimi, most = on_meta(name), 0
    for half in HALVES:
        step = half(mimi, 1, [rows])
        with PeakMemory() as memory:
            step.warm()
        most += memory.most_bytes
    planned = rows * CodecSize(mimi.config).row_bytes
    assert most <= planned <= 1.5 * most


def test_the_published_codec_takes_16_megabytes_a_session_and_23_with_its_row() -> None:
    size = CodecSize(on_meta("mimi-published").config)
    assert (round(size.session_bytes / 1e6, 1), round(size.row_bytes / 1e6, 1)) == (16.5, 6.1)
    room = CodecRoom(size)
    assert round(room.session_bytes / 1e6) == 23 and round(room.fixed_bytes / 1e6) == 1593

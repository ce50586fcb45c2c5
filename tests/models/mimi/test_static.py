"""The static steps give the plain steps' codes and samples, whoever comes, goes and pauses."""

from __future__ import annotations

from functools import cache

import hypothesis
import hypothesis.strategies as st
import pytest
import torch
from torch import Tensor

from benchmarks.offline.model_sizes import MODEL_SIZES
from moshi_cluster.models.mimi import Mimi, MimiConfig
from moshi_cluster.models.mimi.static import StaticDecoder, StaticEncoder, static_decoder, static_encoder
from tests.models.launches import Launches
from tests.models.mimi import tiny

SLOTS, STEPS, CODEBOOKS, BUCKETS = 5, 8, 8, (2, 6)
BUCKETS_OF_A_CARD, MOST_LAUNCHES = (16, 64, 128), 300
CLOSE = 1e-5  # sums in another order


@cache
def published_tensors() -> dict[str, Tensor]:
    size = next(size for size in MODEL_SIZES if size.kind == "mimi" and size.config["seanet"]["n_filters"] == 64)
    return size.tensors(torch.device("cpu"))


def static_pair() -> tuple[StaticEncoder, StaticDecoder]:
    mimi = tiny.mimi(CODEBOOKS)
    return static_encoder(mimi, SLOTS, BUCKETS), static_decoder(mimi, SLOTS, BUCKETS)


def noise(seed: int, rows: int) -> Tensor:
    """[rows, 1920]."""
    return torch.randn(rows, tiny.FRAME_SAMPLES, generator=torch.Generator().manual_seed(seed)) / 8


plans = st.lists(
    st.tuples(
        st.lists(st.integers(0, SLOTS - 1), unique=True, min_size=1),  # who runs, in this order
        st.sets(st.integers(0, SLOTS - 1), max_size=1),  # whose slot gets a new owner before
    ),
    min_size=2,
    max_size=STEPS,
)


@hypothesis.settings(max_examples=12)
@hypothesis.given(plans)
def test_codes_and_samples_are_the_plain_steps(plan: list[tuple[list[int], set[int]]]) -> None:
    mimi = tiny.mimi(CODEBOOKS)
    encoders, decoders = zip((mimi.encoder(SLOTS), mimi.decoder(SLOTS)), static_pair(), strict=True)
    for step, (slots, reset) in enumerate(plan):
        for slot in reset:
            for half in (*encoders, *decoders):
                half.reset(slot)
        plain, ours = (encoder.step(slots, noise(step, len(slots))) for encoder in encoders)
        assert torch.equal(ours, plain)
        plain, ours = (decoder.step(slots, plain) for decoder in decoders)
        assert (ours - plain).abs().max() < CLOSE


@pytest.mark.parity
def test_a_recording_gives_the_golden_codes_past_the_ring() -> None:
    encoder, decoder = static_pair()
    frames, expected = tiny.frames(tiny.voice("user_a")), tiny.mimi(CODEBOOKS)
    plain = expected.encoder(1)
    count = 10 + tiny.config().context // tiny.config().positions_per_frame
    assert len(frames) >= count
    codes = [encoder.step([3], frame) for frame in frames[:count]]
    assert torch.equal(torch.cat(codes), torch.cat([plain.step([0], frame) for frame in frames[:count]]))
    back = expected.decoder(1)
    for column in codes:
        assert (decoder.step([3], column) - back.step([0], column)).abs().max() < CLOSE


def test_a_row_is_the_same_alone_in_a_batch_and_in_another_bucket() -> None:
    alone, crowd = static_pair()[0], static_pair()[0]
    for step in range(4):
        pcm = noise(step, 5)
        together = crowd.step([4, 1, 0, 2, 3], pcm)
        assert torch.equal(alone.step([2], pcm[3:4])[0], together[3])


def test_what_an_earlier_stream_left_behind_disturbs_nobody() -> None:
    (encoder, decoder), (clean, quiet) = static_pair(), static_pair()
    for half in (encoder, decoder):
        for rings in (half._state.keys, half._state.values):
            rings.fill_(float("nan"))
    for step in range(4):
        codes = encoder.step([1], noise(step, 1))
        assert torch.equal(codes, clean.step([1], noise(step, 1)))
        assert torch.equal(decoder.step([1], codes), quiet.step([1], codes))


@pytest.mark.parametrize("slots", [[0, 0], [SLOTS], [-1], [0, 1]])
def test_slots_that_cannot_be_are_refused(slots: list[int]) -> None:
    encoder, decoder = static_pair()
    with pytest.raises(ValueError, match="slots"):
        encoder.step(slots, noise(0, 1 if slots == [0, 1] else len(slots)))
    with pytest.raises(ValueError, match="slots"):
        decoder.step(slots, torch.zeros(1 if slots == [0, 1] else len(slots), CODEBOOKS, dtype=torch.int64))


def test_shapes_and_codes_that_cannot_be_are_refused() -> None:
    encoder, decoder = static_pair()
    with pytest.raises(ValueError, match="pcm has shape"):
        encoder.step([0], torch.zeros(1, 7))
    with pytest.raises(ValueError, match="codes have shape"):
        decoder.step([0], torch.zeros(1, CODEBOOKS - 1, dtype=torch.int64))
    with pytest.raises(ValueError, match="a code is outside"):
        decoder.step([0], torch.full((1, CODEBOOKS), tiny.config().bins))


@pytest.mark.parametrize("rows", [1, 16, 64, 128])
def test_a_frame_at_published_size_is_one_copy_each_way_and_gathers_nothing(rows: int) -> None:
    size = next(size for size in MODEL_SIZES if size.kind == "mimi" and size.config["seanet"]["n_filters"] == 64)
    tensors = {name: tensor.to("meta") for name, tensor in published_tensors().items()}
    mimi = Mimi.from_tensors(tensors, MimiConfig.from_dict(size.config), CODEBOOKS, "meta")
    slots = range(3, 3 + rows)
    for half, frame in (
        (static_encoder(mimi, 160, BUCKETS_OF_A_CARD), torch.zeros(rows, tiny.FRAME_SAMPLES)),
        (static_decoder(mimi, 160, BUCKETS_OF_A_CARD), torch.zeros(rows, CODEBOOKS, dtype=torch.int64)),
    ):
        with Launches([*half._state.keys, *half._state.values]) as step:
            half.launch(slots, frame)  # type: ignore[attr-defined]
            half.finish()  # type: ignore[attr-defined]
        assert len(step.to_device_bytes) == len(step.to_host_bytes) == 1
        assert step.gathered_bytes == 0
        assert step.kernels.total() <= MOST_LAUNCHES, step.kernels.most_common(20)

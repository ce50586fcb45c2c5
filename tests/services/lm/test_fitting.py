"""An lm worker takes as many sessions as memory holds, and says how it came to the number."""

from __future__ import annotations

import logging

import pytest
import torch

from moshi_cluster.models.loading.published import MOSHI_7B
from moshi_cluster.models.moshi_lm import LmConfig
from moshi_cluster.services.lm import fitting
from moshi_cluster.services.lm.fitting import (
    NoRoomError,
    activation_dtype,
    choose_slots,
    kv_dtype,
    largest_batch,
    step_buckets,
)
from moshi_cluster.services.lm.settings import LmSettings

GIGABYTE = 10**9
CONFIG = LmConfig.from_dict(MOSHI_7B)


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """A machine with 24 GB left."""
    monkeypatch.setattr(fitting, "free_bytes", lambda device: 24 * GIGABYTE)
    caplog.set_level(logging.INFO)
    return caplog


def warnings(log: pytest.LogCaptureFixture) -> list[str]:
    return [each.message for each in log.records if each.levelno == logging.WARNING]


@pytest.mark.parametrize(
    ("settings", "dtype", "slots"),
    [
        # 2 x 32 layers x 32 heads x 3000 frames x 128 values = 786 M values per slot, of 24 GB x 0.8.
        (LmSettings(), torch.bfloat16, 12),
        (LmSettings(), torch.float32, 6),
        (LmSettings(), torch.int8, 23),
        (LmSettings(context=375), torch.bfloat16, 32),
        (LmSettings(memory_share=0.4), torch.bfloat16, 6),
        (LmSettings(context=375, device="cuda", static_step="off"), torch.bfloat16, 97),
        # Rings have 72 places more; a step of 320 rows and the runtime take 0.9 GB, a codec 1.6 GB and 23 MB a session.
        (LmSettings(context=375, device="cuda"), torch.bfloat16, 79),
        (LmSettings(context=375, device="cuda", memory_share=0.5), torch.bfloat16, 41),
        (LmSettings(context=375, device="cuda", leave_for_codec=False), torch.bfloat16, 93),
        (LmSettings(context=375, device="cuda", slots=80), torch.bfloat16, 80),
        (LmSettings(slots=3), torch.bfloat16, 3),
        (LmSettings(slots=100), torch.bfloat16, 100),
    ],
)
def test_slots_are_what_fits(
    settings: LmSettings, dtype: torch.dtype, slots: int, free: pytest.LogCaptureFixture
) -> None:
    assert choose_slots(settings, CONFIG, dtype) == slots


def test_the_arithmetic_is_logged(free: pytest.LogCaptureFixture) -> None:
    choose_slots(LmSettings(), CONFIG, torch.bfloat16)
    assert free.messages == [
        "slots: 12; 12 slots fit: 24000 MB free x 0.8 / 1573 MB "
        "(keys and values of 32 layers x 32 heads x 3000 frames x 256 bytes, bfloat16) each; at most 32 on cpu"
    ]


@pytest.mark.parametrize(("slots", "warned"), [(12, False), (13, True), (100, True)])
def test_slots_that_leave_too_little_are_warned_of(free: pytest.LogCaptureFixture, slots: int, warned: bool) -> None:
    choose_slots(LmSettings(slots=slots), CONFIG, torch.bfloat16)
    assert warned == any(
        "may leave too little" in each.message for each in free.records if each.levelno == logging.WARNING
    )


def test_set_slots_that_cannot_fit_beside_a_static_step_are_an_error_with_the_arithmetic(
    free: pytest.LogCaptureFixture,
) -> None:
    settings = LmSettings(device="cuda", slots=29, kv_dtype="int8")
    with pytest.raises(NoRoomError, match=r"slots: 29 as set, but 28 slots fit: \(24000 MB free - 5\d\d MB for a step"):
        choose_slots(settings, CONFIG, torch.int8)
    assert choose_slots(LmSettings(device="cuda", slots=28), CONFIG, torch.int8) == 28


def test_what_is_left_for_a_codec_beside_it_is_in_the_arithmetic(free: pytest.LogCaptureFixture) -> None:
    choose_slots(LmSettings(device="cuda"), CONFIG, torch.int8)
    assert (
        "- 1593 MB for a codec beside it) x 0.95 / 830.5 MB" in free.text and "and 23 MB of the codec each" in free.text
    )
    assert choose_slots(LmSettings(device="cuda", slots=25), CONFIG, torch.int8) == 25
    assert any("25 as set may leave too little for others" in each for each in warnings(free))


@pytest.mark.parametrize(("card_bytes", "dtype", "least"), [(150.7e9, torch.int8, 128), (85.5e9, torch.int8, 64)])
def test_a_card_of_its_size_takes_as_many_sessions_as_are_promised_with_a_codec_beside_them(
    monkeypatch: pytest.MonkeyPatch, card_bytes: float, dtype: torch.dtype, least: int
) -> None:
    weights_and_context_bytes = 15.4e9 + 0.5e9
    monkeypatch.setattr(fitting, "free_bytes", lambda device: int(card_bytes - weights_and_context_bytes))
    assert choose_slots(LmSettings(device="cuda"), CONFIG, dtype) >= least


@pytest.mark.parametrize(
    ("settings", "slots", "batch"),
    [
        (LmSettings(), 128, 64),
        (LmSettings(device="cuda"), 128, 128),
        (LmSettings(device="cuda", static_step="off"), 128, 64),
        (LmSettings(static_step="on"), 8, 8),
        (LmSettings(device="cuda", max_batch=32), 128, 32),
        (LmSettings(), 8, 8),
    ],
)
def test_the_static_step_takes_every_session_at_once(settings: LmSettings, slots: int, batch: int) -> None:
    assert largest_batch(settings, slots) == batch


def test_where_not_one_fits_the_ways_out_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "free_bytes", lambda device: GIGABYTE)
    with pytest.raises(NoRoomError, match=r"0 slots fit: 1000 MB free x 0\.8 / 1573 MB .*kv_dtype=int8"):
        choose_slots(LmSettings(), CONFIG, torch.bfloat16)


def test_where_free_memory_is_unknown_the_most_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "free_bytes", lambda device: None)
    assert choose_slots(LmSettings(), CONFIG, torch.float32) == 32


@pytest.mark.parametrize(
    ("settings", "quantised", "activations", "memory"),
    [
        (LmSettings(), False, torch.float32, torch.float32),
        (LmSettings(), True, torch.bfloat16, torch.bfloat16),
        (LmSettings(device="cuda"), False, torch.bfloat16, torch.bfloat16),
        (LmSettings(dtype="float32", kv_dtype="int8"), True, torch.float32, torch.int8),
        (LmSettings(dtype="bfloat16", kv_dtype="float32"), False, torch.bfloat16, torch.float32),
    ],
)
def test_types_follow_the_weights_and_the_device_unless_set(
    settings: LmSettings, quantised: bool, activations: torch.dtype, memory: torch.dtype
) -> None:
    assert activation_dtype(settings, quantised) == activations
    assert kv_dtype(settings, activations) == memory


def test_one_bucket_is_the_largest_of_those_that_there_would_be() -> None:
    usual = step_buckets(LmSettings(), 100)
    assert len(usual) > 1 and usual[-1] >= 100
    assert step_buckets(LmSettings(one_bucket=True), 100) == usual[-1:]

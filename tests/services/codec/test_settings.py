"""What a codec worker holds and steps at once follows its device, unless set."""

from __future__ import annotations

import pytest

from moshi_cluster.services.codec.settings import MOST_SLOTS, CodecSettings, unused_settings


@pytest.mark.parametrize(
    ("settings", "slots", "batch", "static"),
    [
        (CodecSettings(), 32, 32, False),
        (CodecSettings(slots=100), 100, 64, False),
        (CodecSettings(device="cuda:1"), 128, 128, True),
        (CodecSettings(device="cuda", static_step="off"), 128, 64, False),
        (CodecSettings(device="mps"), 128, 64, False),
        (CodecSettings(slots=100, static_step="on"), 100, 100, True),
        (CodecSettings(device="cuda", max_batch=16), 128, 16, True),
    ],
)
def test_defaults_follow_the_device(settings: CodecSettings, slots: int, batch: int, static: bool) -> None:
    assert (settings.held_slots, settings.largest_batch, settings.uses_static_step) == (slots, batch, static)


def test_with_triton_the_slots_are_known_later_unless_set() -> None:
    triton = CodecSettings(backend="triton", triton_url="localhost:8001")
    assert (CodecSettings().most_slots, triton.most_slots) == (32, MOST_SLOTS)
    assert CodecSettings(backend="triton", slots=5).most_slots == 5


def test_settings_of_the_other_backend_are_found() -> None:
    assert list(unused_settings(CodecSettings(backend="triton"))) == []
    assert list(unused_settings(CodecSettings(backend="triton", slots=5, device="cuda", threads=2))) == [
        "device",
        "threads",
    ]

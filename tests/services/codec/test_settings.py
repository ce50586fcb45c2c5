"""What a codec worker holds and steps at once follows its device, unless set."""

from __future__ import annotations

import pytest

from moshi_cluster.services.codec.settings import CodecSettings


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

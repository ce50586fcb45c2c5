"""A codec worker holds as many sessions as are set or usual, if memory does; if not it says by what arithmetic."""

from __future__ import annotations

import logging

import pytest

from moshi_cluster.models.mimi import MimiConfig
from moshi_cluster.services.codec import fitting
from moshi_cluster.services.codec.fitting import choose_slots
from moshi_cluster.services.codec.settings import CodecSettings
from moshi_cluster.services.common.worker.room import NoRoomError

PUBLISHED = MimiConfig()


@pytest.fixture
def with_free(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """A device with 2 GB left: for 128 rows and the runtime 1.09 GB, for a session 16.5 MB."""
    monkeypatch.setattr(fitting, "free_bytes", lambda device: 2 * 10**9)
    caplog.set_level(logging.INFO)
    return caplog


@pytest.mark.parametrize(
    ("settings", "slots"),
    [
        (CodecSettings(), 32),
        (CodecSettings(device="cuda"), 55),
        (CodecSettings(device="cuda", slots=50), 50),
        (CodecSettings(device="cuda", slots=70, max_batch=16), 70),
        (CodecSettings(slots=300), 300),
    ],
)
def test_slots_are_as_set_or_what_fits(
    with_free: pytest.LogCaptureFixture, settings: CodecSettings, slots: int
) -> None:
    assert choose_slots(settings, PUBLISHED) == slots


def test_the_arithmetic_is_logged(with_free: pytest.LogCaptureFixture) -> None:
    choose_slots(CodecSettings(device="cuda"), PUBLISHED)
    (said,) = with_free.messages
    assert said.startswith(
        "slots: 55 instead of 128; 55 slots fit: (2000 MB free - 1086 MB for steps of 128 rows and the "
    )
    assert "/ 16.46 MB (encoder and decoder: keys and values of 8 layers x 8 heads x 250 places x 256 bytes" in said
    assert with_free.records[0].levelno == logging.WARNING


def test_set_slots_that_cannot_fit_on_a_device_are_an_error_with_the_arithmetic(
    with_free: pytest.LogCaptureFixture,
) -> None:
    with pytest.raises(NoRoomError, match=r"slots: 80 as set, but 55 slots fit: \(2000 MB free - 1086 MB for steps"):
        choose_slots(CodecSettings(device="cuda", slots=80), PUBLISHED)


def test_on_a_cpu_they_are_warned_of(with_free: pytest.LogCaptureFixture) -> None:
    choose_slots(CodecSettings(slots=300), PUBLISHED)
    assert [record.levelno for record in with_free.records] == [logging.WARNING]


def test_where_not_one_fits_it_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "free_bytes", lambda device: 10**9)
    with pytest.raises(NoRoomError, match=r"0 slots fit: \(1000 MB free"):
        choose_slots(CodecSettings(device="cuda"), PUBLISHED)


def test_where_free_memory_is_unknown_the_default_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "free_bytes", lambda device: None)
    assert choose_slots(CodecSettings(device="mps"), PUBLISHED) == 128

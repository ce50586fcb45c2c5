"""Streaming resampling; figures hold from `settled` on: before it the filter fills."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moshi_cluster.audio.resample import PASS_BAND, Resampler

RATES = [(8_000, 24_000), (16_000, 24_000), (48_000, 24_000), (24_000, 8_000), (24_000, 16_000), (24_000, 48_000)]
DOWNWARDS = [(from_hz, to_hz) for from_hz, to_hz in RATES if from_hz > to_hz]
SWEEP = 24

by_rates = pytest.mark.parametrize(("from_hz", "to_hz"), RATES)


def tone(freq_hz: float, rate_hz: int, delay_samples: int = 0) -> np.ndarray:
    """0.2 s of a sine of full scale."""
    time = (np.arange(rate_hz // 5) - delay_samples) / rate_hz
    return np.sin(2 * np.pi * freq_hz * time).astype(np.float32)


def level_db(samples: np.ndarray) -> float:
    """Against a sine of full scale."""
    return 10 * np.log10(2 * np.mean(np.square(samples, dtype=np.float64)) + 1e-20)


@by_rates
def test_a_sine_sweep_in_the_pass_band_comes_out_the_same_to_60_db(from_hz, to_hz):
    settled = to_hz // 50
    for freq_hz in np.linspace(50, PASS_BAND * min(from_hz, to_hz) / 2, SWEEP):
        resampler = Resampler(from_hz, to_hz)
        error = resampler.push(tone(freq_hz, from_hz)) - tone(freq_hz, to_hz, resampler.delay_samples)
        assert level_db(error[settled:]) < -70, freq_hz


@pytest.mark.parametrize(("from_hz", "to_hz"), DOWNWARDS)
def test_sound_that_would_fold_back_into_the_pass_band_is_60_db_down(from_hz, to_hz):
    settled = to_hz // 50
    for freq_hz in np.linspace((2 - PASS_BAND) * to_hz / 2, 0.99 * from_hz / 2, SWEEP):
        folded = Resampler(from_hz, to_hz).push(tone(freq_hz, from_hz))
        assert level_db(folded[settled:]) < -70, freq_hz


@by_rates
def test_delay_is_at_most_3_ms(from_hz, to_hz):
    assert Resampler(from_hz, to_hz).delay_samples / to_hz <= 0.003


@by_rates
def test_a_click_appears_as_late_as_the_delay_says(from_hz, to_hz):
    resampler = Resampler(from_hz, to_hz)
    click = np.zeros(from_hz // 50, dtype=np.float32)
    click[0] = 1.0
    assert np.argmax(resampler.push(click)) == resampler.delay_samples


@by_rates
def test_sound_comes_out_whole_after_a_flush(from_hz, to_hz):
    resampler = Resampler(from_hz, to_hz)
    sound = np.ones(from_hz // 50, dtype=np.float32)
    before = resampler.push(sound)
    tail = resampler.flush()
    assert tail.size == resampler.delay_samples
    assert tail[: resampler.delay_samples // 2] == pytest.approx(1.0, abs=0.11)
    assert (before.sum() + tail.sum()) / to_hz == pytest.approx(0.02, abs=1e-4)


@by_rates
def test_an_hour_of_odd_packets_has_exactly_the_samples_of_an_hour(from_hz, to_hz):
    resampler = Resampler(from_hz, to_hz)
    packet = np.zeros(from_hz - 1, dtype=np.float32)
    samples_out = sum(resampler.push(packet).size for _ in range(60))
    samples_out += resampler.push(np.zeros(60, dtype=np.float32)).size
    assert samples_out == 60 * to_hz


@by_rates
@pytest.mark.parametrize("packet_ms", [10, 20, 30, 60, 80, 100])
def test_a_packet_of_whole_milliseconds_waits_for_nothing(from_hz, to_hz, packet_ms):
    resampler = Resampler(from_hz, to_hz)
    packet = np.zeros(from_hz * packet_ms // 1000, dtype=np.float32)
    assert [resampler.push(packet).size for _ in range(3)] == [to_hz * packet_ms // 1000] * 3


@by_rates
@settings(max_examples=40, deadline=None)
@given(cuts=st.lists(st.integers(0, 700), max_size=30), seed=st.integers(0, 9))
def test_any_split_gives_the_same_bits_as_one_block(from_hz, to_hz, cuts, seed):
    sound = np.random.default_rng(seed).standard_normal(700).astype(np.float32)
    whole = Resampler(from_hz, to_hz).push(sound)
    split = Resampler(from_hz, to_hz)
    pieces = [split.push(block) for block in np.split(sound, sorted(cuts))]
    assert np.concatenate(pieces).tobytes() == whole.tobytes()

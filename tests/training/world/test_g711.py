"""The training's telephones against the gateway's tables."""

from __future__ import annotations

import numpy as np

from moshi_cluster.audio import g711
from training.world.g711 import mu_law, mu_law_bytes


def test_every_level_comes_back_as_it_is() -> None:
    levels = g711.MULAW_TO_S16.astype(np.float32) / 32768
    np.testing.assert_array_equal(mu_law(levels), levels)


def test_the_gateway_decodes_the_bytes_to_the_levels() -> None:
    samples = np.random.default_rng(1).uniform(-1, 1, 4000).astype(np.float32)
    decoded = g711.MULAW_TO_S16[mu_law_bytes(samples)].astype(np.float32) / 32768
    np.testing.assert_array_equal(decoded, mu_law(samples))


def test_the_level_is_the_nearest_one() -> None:
    samples = np.random.default_rng(2).uniform(-1, 1, 500).astype(np.float32)
    levels = np.unique(g711.MULAW_TO_S16).astype(np.float32) / 32768
    distances = np.abs(samples[:, None] - levels).min(axis=1)
    np.testing.assert_allclose(np.abs(mu_law(samples) - samples), distances, atol=1e-7)


def test_silence_stays_silence() -> None:
    assert not mu_law(np.zeros(10, np.float32)).any()

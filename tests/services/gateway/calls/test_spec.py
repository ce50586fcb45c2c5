"""What calls of every transport share before they begin."""

from __future__ import annotations

from moshi_cluster.services.gateway.calls.spec import draw_seed


def test_a_drawn_seed_survives_a_client_that_reads_numbers_as_doubles() -> None:
    seeds = [draw_seed() for _ in range(200)]
    assert [int(float(seed)) for seed in seeds] == seeds
    assert len(set(seeds)) == len(seeds)
    assert max(seeds) > 2**50, "fewer seeds than there could be"

"""How much one place in the code may log."""

from __future__ import annotations

import pytest

from moshi_cluster.services.common.log_limits import AUDIT, EDGE, OWN, RepeatLimit, RepeatLimits


@pytest.mark.parametrize("limit", [OWN, EDGE, AUDIT])
def test_a_burst_is_logged_and_then_so_many_a_second(limit: RepeatLimit) -> None:
    limits = RepeatLimits()
    flood = [limits.take("here", 0.0, limit) for _ in range(int(limit.burst) + 7)]
    assert flood == [0] * int(limit.burst) + [None] * 7
    assert limits.take("here", 1 / limit.per_s, limit) == 7
    assert limits.take("here", 1 / limit.per_s, limit) is None


def test_places_do_not_share_a_limit() -> None:
    limits = RepeatLimits()
    while limits.take("here", 0.0) is not None:
        pass
    assert limits.take("there", 0.0) == 0


def test_quiet_earns_no_more_than_a_burst() -> None:
    limits = RepeatLimits()
    limits.take("here", 0.0)
    later = [limits.take("here", 1e6) for _ in range(int(OWN.burst) + 1)]
    assert later == [0] * int(OWN.burst) + [None]

"""How many calls a token may hold and begin."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from moshi_cluster.services.common.errors import OverQuota
from moshi_cluster.services.gateway.admission.token_quotas import Grant, TokenQuotas


async def test_tokens_of_one_name_share_their_calls() -> None:
    quotas, grant = TokenQuotas(), Grant("switchboard", sessions=2)
    with ExitStack() as held:
        for _ in range(2):
            await quotas.enter(grant, held)
        with pytest.raises(OverQuota, match="already holds all its calls"):
            await quotas.enter(grant, held)
        await quotas.enter(Grant("somebody-else", sessions=1), held)
    with ExitStack() as held:
        await quotas.enter(grant, held)


async def test_without_a_limit_there_is_none() -> None:
    quotas = TokenQuotas()
    with ExitStack() as held:
        for _ in range(1000):
            await quotas.enter(Grant("switchboard"), held)


async def test_more_openings_than_a_token_may_begin_wait_and_then_are_refused() -> None:
    quotas, grant = TokenQuotas(), Grant("switchboard", openings_per_s=0.25)
    with ExitStack() as held:
        await quotas.enter(grant, held)  # a first one at once
        with pytest.raises(OverQuota, match="too many calls begun with this token") as refused:
            await quotas.enter(grant, held)
    assert refused.value.retry_after_ms == 3000
    assert not quotas._sessions["switchboard"]

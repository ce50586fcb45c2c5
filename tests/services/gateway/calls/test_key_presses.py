"""Key presses of a call."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry

from moshi_cluster.services.common.errors import OverQuota
from moshi_cluster.services.gateway.calls.key_presses import DIGITS, KeyPresses
from moshi_cluster.services.gateway.metrics import GatewayMetrics


@pytest.fixture
def keys() -> KeyPresses:
    return KeyPresses("call", GatewayMetrics(CollectorRegistry()), start_s=0.0)


def test_a_machine_that_dials_as_fast_as_tones_allow_is_heard_out(keys: KeyPresses) -> None:
    for number in range(1000):
        assert keys.press(DIGITS[number % len(DIGITS)], number * 0.08)


@pytest.mark.parametrize("digit", ["1", "E"])
def test_a_hundred_at_once_and_then_twenty_a_second_is_all_there_may_be(keys: KeyPresses, digit: str) -> None:
    for _ in range(100):
        keys.press(digit, 0.0)
    for _ in range(2):
        with pytest.raises(OverQuota, match="more keys than one call may send"):
            keys.press(digit, 0.04)
    keys.press(digit, 0.06)

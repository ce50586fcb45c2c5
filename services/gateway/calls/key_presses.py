"""Key presses of a call: counted, never written down, and no more of them than anybody can press."""

from __future__ import annotations

import logging

from moshi_cluster.services.gateway.admission.rate_limits import RateQuota
from moshi_cluster.services.gateway.metrics import GatewayMetrics

DIGITS = "0123456789*#ABCD"
_PER_S = 20.0  # twice what tones allow: 40 ms each and as much between them (ITU-T Q.24)
_AT_ONCE = 100.0

_log = logging.getLogger(__name__)


class KeyPresses:
    """The keys of one call."""

    def __init__(self, session_id: str, metrics: GatewayMetrics, start_s: float) -> None:
        """start_s: on the clock of `press`."""
        self._session_id = session_id
        self._metrics = metrics
        self._quota = RateQuota(_PER_S, _AT_ONCE, "keys", start_s)
        self._pressed = self._ignored = 0

    def press(self, digit: str, now_s: float) -> bool:
        """Counts a press; False for what is no key of a phone, which is passed over. Raises OverQuota for a flood."""
        self._quota.take(now_s)
        is_key = len(digit) == 1 and digit in DIGITS
        self._pressed += is_key
        self._ignored += not is_key
        self._metrics.digit(is_key)
        return is_key

    def log(self) -> None:
        """One line for the whole call, if there was any press. Which keys is nobody's business."""
        if self._pressed or self._ignored:
            _log.info("keys session=%s pressed=%d ignored=%d", self._session_id, self._pressed, self._ignored)

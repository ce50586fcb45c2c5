"""Record of a call: who calls, over what and for how long, for metrics and the audit log; nothing of what is said."""

from __future__ import annotations

import logging
import time
import uuid
from contextlib import ExitStack
from dataclasses import dataclass, field

from moshi_cluster.services.common.logs import AUDIT_LOGGER
from moshi_cluster.services.gateway.metrics import CUT_SHORT, GatewayMetrics

_audit = logging.getLogger(AUDIT_LOGGER)


@dataclass
class CallRecord:
    """A call from its first moment, when nobody knows whether it will ever be up, to its last."""

    transport: str
    session_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    token_name: str = ""
    """Of the token that was shown; empty where nobody is asked for one, or before it is known."""
    address: str = ""
    """The caller's, where the audit log is to have it."""
    cut_short: bool = False
    """Whether the gateway's stop has ended it."""
    held: ExitStack = field(default_factory=ExitStack)
    """What is given back when it is over."""
    _up_s: float | None = None

    def up(self) -> None:
        """The caller has been told that it has begun."""
        self._up_s = time.monotonic()

    def over(self, outcome: str, metrics: GatewayMetrics) -> None:
        """Counts it and writes its line. outcome: of metrics.OUTCOMES."""
        self.held.close()
        outcome = CUT_SHORT if self.cut_short else outcome
        length_s = None if self._up_s is None else time.monotonic() - self._up_s
        metrics.ended(outcome, self.transport, self.session_id, length_s)
        _audit.info(
            "call over session=%s transport=%s token=%s length_s=%.2f outcome=%s%s",
            self.session_id,
            self.transport,
            self.token_name or "-",
            length_s or 0.0,
            outcome,
            f" address={self.address}" if self.address else "",
        )

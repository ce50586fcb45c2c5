"""Record of a call: who calls, over what and for how long, for metrics and the audit log; nothing of what is said."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Protocol

from moshi_cluster.services.common.logs import AUDIT_LOGGER
from moshi_cluster.services.gateway.calls.call import Call
from moshi_cluster.services.gateway.calls.trace import CallTrace
from moshi_cluster.services.gateway.metrics import CUT_SHORT, GatewayMetrics

_audit = logging.getLogger(AUDIT_LOGGER)


class Traces(Protocol):
    """Where traces go, if they go anywhere."""

    def over(self, trace: CallTrace, session_id: str, figures: Mapping[str, str | float]) -> None: ...


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
    trace: CallTrace = field(default_factory=CallTrace)
    _up_s: float | None = None

    def up(self, setup_s: float = 0.0) -> None:
        """The caller has been told that it has begun."""
        self._up_s = time.monotonic()
        self.trace.happened("started", setup_s=setup_s)

    def carried(self, call: Call) -> None:
        """Takes what came of the frames of a call that is about to end."""
        for hop, total in call.hop_times.totals.items():
            if total.frames:
                mean_ms, max_ms = 1000 * total.sum_s / total.frames, 1000 * total.max_s
                self.trace.happened(f"hop {hop}", frames=total.frames, mean_ms=mean_ms, max_ms=max_ms)
        counters = call.counters
        self.trace.happened(
            "frames",
            frames_in=counters.frames_in,
            frames_out=counters.frames_out,
            frames_filled=counters.frames_filled,
            frames_dropped=counters.frames_dropped,
            frames_late=counters.frames_late,
            moves=counters.moves,
        )
        if call.cut_short:
            self.cut_short = True

    def over(self, outcome: str, metrics: GatewayMetrics, traces: Traces | None = None) -> None:
        """Counts it, writes its line and sends its trace. outcome: of metrics.OUTCOMES."""
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
        if traces is not None:
            figures = {"outcome": outcome, "transport": self.transport, "token": self.token_name}
            traces.over(self.trace, self.session_id, figures)

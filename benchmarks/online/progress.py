"""Progress display: what a person sees while a run goes on."""

from __future__ import annotations

import sys

from benchmarks.online.live import LiveView

_WINDOW_S = 5.0
_LINE_EVERY_S = 10.0  # where a line cannot be written over


class RunProgress:
    """One line, written over every second on a terminal, a new one now and then elsewhere."""

    def __init__(self) -> None:
        self._over = sys.stderr.isatty()
        self._next_s = 0.0

    def show(self, view: LiveView) -> None:
        """Called once a second."""
        moment = view.last(_WINDOW_S)
        if not self._over and moment.elapsed_s < self._next_s:
            return
        self._next_s = moment.elapsed_s + _LINE_EVERY_S
        calls = f"{moment.calls_up} up, {moment.calls_over} over, {moment.rejected} refused, {moment.failed} failed"
        p50_ms, p99_ms, late_ms = (1000 * each for each in (moment.p50_s, moment.p99_s, moment.lateness_p99_s))
        latency = f"last {_WINDOW_S:g} s: p50 {p50_ms:.1f} p99 {p99_ms:.1f} ms, missed {moment.late_ratio:.2%}"
        line = f"{moment.elapsed_s:5.0f} s  {calls} | {latency} | driver late p99 {late_ms:.1f} ms"
        sys.stderr.write(f"\r{line}\x1b[K" if self._over else f"{line}\n")
        sys.stderr.flush()

    def end(self) -> None:
        """Leaves the last line standing."""
        if self._over:
            sys.stderr.write("\n")

"""Views of a conversation. Where there is no screen to draw on: text on stdout, the rest on stderr."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Protocol, Self

from moshi_cluster.clients.cli.talk.conversation import State


class View(Protocol):
    """Somewhere to show a conversation: told its state several times a second, and at the end. A context manager."""

    def show(self, state: State) -> None:
        """Draws what is new."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class PlainView:
    """A view for pipes and logs."""

    def __init__(self) -> None:
        self._phase = ""
        self._printed = 0
        self._last_notice = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._printed:
            print()

    def show(self, state: State) -> None:
        """See View."""
        print(state.text[self._printed :], end="", flush=True)
        self._printed = len(state.text)
        if state.phase != self._phase:
            self._phase = state.phase
            print(f"[{state.phase}]", file=sys.stderr)
        if state.notices and state.notices[-1] != self._last_notice:
            self._last_notice = state.notices[-1]
            print(f"[{self._last_notice}]", file=sys.stderr)


def summary(state: State) -> str:
    """A conversation in one line, for its end."""
    playback = state.playback
    parts = [f"{state.seconds:.1f} s said"]
    if state.delay.seconds is not None:
        parts.append(f"{1000 * state.delay.seconds:.0f} ms behind")
    if "turnaround" in state.latency_ms:
        parts.append(f"turnaround {state.latency_ms['turnaround']:.0f} ms")
    parts.append(f"{playback.underruns} underruns, {playback.drops} catch-ups")
    return ", ".join(parts)

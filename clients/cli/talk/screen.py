"""The terminal interface: both levels, Moshi's text, latency by hop, the playback buffer."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.layout import Layout
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from moshi_cluster.audio.frame import MODEL_RATE_HZ
from moshi_cluster.clients.cli.talk.conversation import State
from moshi_cluster.clients.cli.talk.levels import LevelMeter

_HOPS = ("edge_in", "encode", "lm", "decode", "edge_out", "turnaround")
_COUNTERS = {"frames_late": "late", "frames_filled": "filled in", "frames_dropped": "dropped", "moves": "moved"}
_SIDE_WIDTH = 34
_NARROW = 72  # columns; below, statistics stand under the text
_EIGHTHS = " ▏▎▍▌▋▊▉"
_LOUD_DB, _QUIET_DB = -6.0, -50.0


class Screen:
    """A full terminal, until it is left. Nothing is drawn but by `show`: there is no thread."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console()
        self._live = Live(console=self._console, screen=True, auto_refresh=False, redirect_stdout=False)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def show(self, state: State) -> None:
        """See View."""
        self._live.update(render(state, *self._console.size), refresh=True)


def render(state: State, width: int, height: int) -> RenderableType:
    """The whole screen, `width` columns by `height` lines."""
    layout, body = Layout(), Layout(name="body")
    layout.split_column(Layout(_header(state), size=1), Layout(_levels(state, width), size=4), body, _footer())
    stats = Layout(Panel(_stats(state), title="latency"), name="stats")
    if width < _NARROW:
        stats.size = min(16, height // 2)
        text_size = width - 4, height - 8 - stats.size
        body.split_column(Layout(_words(state, *text_size)), stats)
    else:
        stats.size = _SIDE_WIDTH
        body.split_row(Layout(_words(state, width - _SIDE_WIDTH - 4, height - 8)), stats)
    return layout


def bar(fraction: float, width: int) -> str:
    """A horizontal bar of exactly `width` characters, `fraction` of them (0 to 1) filled, to an eighth."""
    eighths = round(max(0.0, min(1.0, fraction)) * width * 8)
    whole, rest = divmod(eighths, 8)
    return ("█" * whole + (_EIGHTHS[rest] if rest else "")).ljust(width)


def last_lines(text: str, width: int, height: int) -> list[str]:
    """The end of the text, wrapped: at most `height` lines of at most `width` characters."""
    if width <= 0 or height <= 0:
        return []
    shown = "".join(letter for letter in text if letter == "\n" or letter.isprintable())
    lines = [line for part in shown.split("\n") for line in textwrap.wrap(part, width) or [""]]
    return lines[-height:]


def _header(state: State) -> Text:
    minutes, seconds = divmod(int(state.seconds), 60)
    return Text.assemble(
        (" moshi-cluster ", "bold reverse"), f" {state.target}  ", (state.phase, "bold"), f"  {minutes}:{seconds:02d}",
        no_wrap=True, overflow="ellipsis",
    )  # fmt: skip


def _levels(state: State, width: int) -> RenderableType:
    return Panel(Group(_level("you", state.mine, width), _level("Moshi", state.moshi, width)))


def _level(name: str, meter: LevelMeter, width: int) -> Text:
    colour = "red" if meter.level_db > _LOUD_DB else "green" if meter.level_db > _QUIET_DB else "dim"
    return Text.assemble(f"{name:<6}", (bar(meter.fraction, max(1, width - 18)), colour), f"{meter.level_db:5.0f} dB")


def _words(state: State, width: int, height: int) -> RenderableType:
    lines = last_lines(state.text[-width * height :].lstrip() if width > 0 < height else "", width, height)
    text = Text("\n".join(lines[:-1] + [""]) if len(lines) > 1 else "")
    before, space, newest = (lines[-1] if lines else "").rpartition(" ")
    return Panel(Text.assemble(text, before + space, (newest, "bold")), title="Moshi says")


def _stats(state: State) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    table.add_column()
    table.add_column(justify="right")
    for name, value in _rows(state):
        table.add_row(name, value)
    notices = [Text(notice, style="yellow", no_wrap=True, overflow="ellipsis") for notice in state.notices]
    return Group(table, *notices)


def _rows(state: State) -> Iterator[tuple[str, str]]:
    for hop in _HOPS:
        if hop in state.latency_ms:
            yield hop.replace("_", " "), f"{state.latency_ms[hop]:.1f} ms"
    if state.delay.seconds is not None:
        yield "mouth to ear", f"{1000 * state.delay.seconds:.0f} ms"
    playback = state.playback
    yield "buffer", f"{_ms(playback.queued):.0f} of {_ms(playback.limit):.0f} ms"
    yield "", bar(playback.queued / playback.limit, 10)
    yield "underruns", str(playback.underruns)
    yield "caught up", f"{playback.drops} times, {_ms(playback.dropped):.0f} ms"
    for counter, title in _COUNTERS.items():
        if state.counters.get(counter):
            yield f"frames {title}", str(state.counters[counter])


def _footer() -> Layout:
    return Layout(Text(" Ctrl-C hangs up", style="dim"), size=1)


def _ms(samples: int) -> float:
    return 1000 * samples / MODEL_RATE_HZ

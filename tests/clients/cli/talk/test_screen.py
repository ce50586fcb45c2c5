"""What is drawn."""

from __future__ import annotations

from array import array

import pytest

pytest.importorskip("rich", reason="the extra `talk` is not installed")

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from moshi_cluster.clients.cli.talk.conversation import State
from moshi_cluster.clients.cli.talk.screen import bar, last_lines, render


def drawn(state: State, width: int = 100, height: int = 24) -> str:
    console = Console(width=width, height=height, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(render(state, width, height), height=height)
    return console.export_text()


def talking() -> State:
    state = State("gateway:50051", phase="talking", text=" Hello there, how are you today?")
    state.latency_ms = {"encode": 14.25, "lm": 31.0, "turnaround": 61.5}
    state.counters = {"frames_late": 2, "frames_filled": 0}
    state.mine.push(array("h", [-32_768] * 480))
    state.said = 24_000 * 65
    state.delay.observe(4800, 0)
    state.playback.push(array("h", bytes(2 * 1200)))
    state.notices.append("go away: the gateway is about to stop")
    return state


@pytest.mark.parametrize(("width", "height"), [(100, 24), (60, 40), (200, 50)])
def test_everything_is_shown(width: int, height: int) -> None:
    text = drawn(talking(), width, height)
    wanted = ["gateway:50051", "talking", "1:05", "you", "0 dB", "Moshi", "-60 dB", "today?"]
    wanted += ["encode", "14.2 ms", "31.0 ms", "turnaround", "61.5 ms", "mouth to ear", "200 ms"]
    wanted += ["buffer", "50 of 100 ms", "underruns", "frames late", "go away", "Ctrl-C"]
    assert [piece for piece in wanted if piece not in text] == []
    assert "filled in" not in text


@given(st.integers(1, 200), st.integers(1, 60), st.text(max_size=300))
def test_no_size_of_terminal_and_no_text_breaks_it(width: int, height: int, text: str) -> None:
    state = talking()
    state.text = text
    lines = drawn(state, width, height).splitlines()
    assert len(lines) <= height + 1


@given(st.floats(-1, 2), st.integers(0, 80))
def test_a_bar_is_as_wide_as_it_should_be_and_filled_in_proportion(fraction: float, width: int) -> None:
    drawn_bar = bar(fraction, width)
    assert len(drawn_bar) == width
    assert abs(drawn_bar.count("█") - max(0, min(1, fraction)) * width) <= 1


@given(st.text(alphabet="ab \n", max_size=400), st.integers(-2, 40), st.integers(-2, 10))
def test_the_end_of_the_text_fits(text: str, width: int, height: int) -> None:
    lines = last_lines(text, width, height)
    assert len(lines) <= max(0, height)
    assert all(len(line) <= width for line in lines)
    if text.strip() and not text.endswith((" ", "\n")) and width > 0 < height:
        assert lines[-1][-1] == text[-1]

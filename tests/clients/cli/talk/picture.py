"""A picture of the terminal during a conversation: python -m tests.clients.cli.talk.picture docs/images/talk.svg"""

from __future__ import annotations

import io
import re
import sys
from array import array
from pathlib import Path

from rich.console import Console

from moshi_cluster.clients.cli.talk.conversation import State
from moshi_cluster.clients.cli.talk.screen import render

WIDTH, HEIGHT = 100, 24
TEXT = (
    " Hello! Good morning. Three plus four is seven. The word cat is spelled c, a, t. After Tuesday comes Wednesday."
    " It was nice to talk to you."
)


def main(path: Path) -> None:
    """A state as a conversation over /api/chat leaves it."""
    state = State("http://localhost:8998", phase="talking", text=TEXT)
    state.said = 24_000 * 47
    state.latency_ms = {
        "edge_in": 0.2, "encode": 9.1, "lm": 12.4, "decode": 6.3, "edge_out": 0.4, "turnaround": 28.7,
    }  # fmt: skip
    state.mine.push(array("h", [1200, -1200] * 240))
    state.moshi.push(array("h", [5200, -5200] * 240))
    state.delay.observe(24_000 * 47, 24_000 * 47 - 3480)
    state.playback.push(array("h", bytes(2 * 2000)))
    console = Console(width=WIDTH, height=HEIGHT, record=True, file=io.StringIO())
    console.print(render(state, WIDTH, HEIGHT), height=HEIGHT)
    picture = console.export_svg(title="moshi-cluster talk")
    path.write_text(re.sub(r"@font-face {.*?}", "", picture, flags=re.DOTALL))  # nothing is fetched to look at it


if __name__ == "__main__":
    main(Path(sys.argv[1]))

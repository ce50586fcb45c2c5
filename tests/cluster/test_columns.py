"""Columns on a terminal."""

from __future__ import annotations

import io

from moshi_cluster.cluster.columns import Columns


def written(conversations: int) -> tuple[Columns, io.StringIO]:
    out = io.StringIO()
    view = Columns(conversations, out)
    view.headings()
    return view, out


def test_everybody_has_a_column() -> None:
    view, out = written(3)
    view.caller(0, "what is my name")
    view.moshi(2, "goodbye")
    heading, first, second = out.getvalue().splitlines()
    assert first.index("what") == heading.index("caller 1") + 2
    assert second.index("> goodbye") == heading.index("caller 3")


def test_long_sentences_stay_in_their_column() -> None:
    view, out = written(4)
    sentence = "monday tuesday wednesday thursday friday saturday sunday"
    view.moshi(1, sentence)
    heading, *lines = out.getvalue().splitlines()
    assert len(lines) > 1
    assert max(map(len, lines)) <= heading.index("caller 3")
    assert " ".join(line[heading.index("caller 2") + 2 :] for line in lines) == sentence

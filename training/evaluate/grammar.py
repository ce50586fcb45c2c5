"""Recogniser grammar (JSGF) of what Moshi may say: the form of every reply, right or wrong in its content."""

from __future__ import annotations

from collections.abc import Iterable

from training.world.exchanges import COURTESIES, GREETING
from training.world.words import COLORS, DAYS, MONTHS, NAMES, NUMBERS, OPPOSITES, REPEATED, SPELLED

PRONUNCIATIONS = {"moshi": "M OW SH IY"}  # what the recogniser's dictionary lacks


def grammar() -> str:
    """Any number may be the sum of any two, any known spelling that of any word.

    Letters in any order are beyond the recogniser: it hears one clean spelling of three wrong.
    """
    fixed = {GREETING, "goodbye", "i do not know your name", *(reply for _, reply in COURTESIES)}
    rules = {
        "number": _any(NUMBERS),
        "day": _any(DAYS),
        "month": _any(MONTHS),
        "word": _any(REPEATED),
        "contrary": _any(word for pair in OPPOSITES for word in pair),
        "name": f"(nice to meet you | your name is) {_any(NAMES)}",
        "sum": "<number> (plus | minus) <number> is <number>",
        "spelling": f"{_any(SPELLED)} is {_any(' '.join(word) for word in SPELLED)}",
        "repetition": "<word> <word> [<word>]",
        "neighbour": "(after | before) (<number> comes <number> | <day> comes <day> | <month> comes <month>)",
        "color": f"the {_any(COLORS)} is {_any(set(COLORS.values()))}",
        "opposite": "the opposite of <contrary> is <contrary>",
        "list": "<number>+ | <day>+ | <month>+",
        "fixed": _any(fixed),
    }
    sentences = ("name", "sum", "spelling", "repetition", "neighbour", "color", "opposite", "list", "fixed")
    lines = [f"<{name}> = {body};" for name, body in rules.items()]
    return "\n".join(
        ["#JSGF V1.0;", "grammar world;", *lines, f"public <reply> = {' | '.join(f'<{name}>' for name in sentences)};"]
    )


def _any(alternatives: Iterable[str]) -> str:
    return f"({' | '.join(sorted(alternatives))})"

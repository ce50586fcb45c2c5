"""Texts of statuses are stable: tools count errors by their text, so what differs from call to call is never in one."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

from moshi_cluster.services.common import errors

ROOT = Path(__file__).parents[2]
SOURCES = [
    *sorted((ROOT / "services").rglob("*.py")),
    *sorted((ROOT / "audio").glob("*.py")),
    ROOT / "models/sampling.py",
]

ERRORS = {name for name, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, Exception)}
MAKE_STATUSES = {*ERRORS, "MalformedAudio", "SamplingError", "End", "StreamEnded", "abort", "within", "unavailable"}
"""What is called with the text of a status, or with one that becomes part of it."""

NO_FIGURES = {
    # Texts made elsewhere in the same way, and looked at there.
    "str(error)",
    "error.expected",
    "ended",
    "end",
    "what",
    "what.upper()",
    "problem",
    "item",
    "self._inbox.end",
    "item.status.text",
    "str(known)",
    "self._why_closed",
    "why_nowhere(self.codec, self.lm, checkpoint)",
    # Names.
    "field",
    "name",
    "key",
    "other",
    "error.name",
    "self.name",
    "name.removeprefix('open.')",
    "self.service",
    "self._service",
    "self.worker.service",
    "pool.service",
    "known.name",
    "output.encoding.name",
    "_KEYS.get(error.field, error.field)",
    "type(error).__name__",
    # Of the contract: the same for every call, on every gateway of a version.
    "LIMITS[name]",
    "limit",
    "option.expects",
    "_either(allowed)",
    "_names()",
    "LIMITS['seed']",
    "', '.join(OPTIONS)",
    "', '.join(_FORMATS)",
    "', '.join(_ENCODINGS)",
}


def placeholders(text: ast.expr) -> Iterator[str]:
    """What is written into a text, as source; all of it for what is no text in itself."""
    if isinstance(text, ast.IfExp):
        yield from placeholders(text.body)
        yield from placeholders(text.orelse)
    elif isinstance(text, ast.JoinedStr):
        for part in text.values:
            if isinstance(part, ast.FormattedValue):
                yield from placeholders(part.value)
    elif not isinstance(text, ast.Constant):
        yield ast.unparse(text)


def texts(source: str) -> Iterator[tuple[int, ast.expr]]:
    """Every text of a status in a source, by line."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and called(node.func) in MAKE_STATUSES:
            yield from ((node.lineno, text) for text in node.args if may_be_text(text))


def called(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def may_be_text(argument: ast.expr) -> bool:
    """Not a number of milliseconds, a status, or what is waited for."""
    is_number = isinstance(argument, ast.Attribute) and argument.attr.endswith(("_ms", "_s"))
    is_work = isinstance(argument, ast.Call) and called(argument.func) in {
        "start",
        "anext",
        "round",
        "_details",
        "_read_opening",
    }
    names = {"session.ready", "sending", "transfer"}
    is_status = ast.unparse(argument).startswith("grpc.StatusCode") or "CODES.get(" in ast.unparse(argument)
    is_delay = isinstance(argument, ast.Name) and argument.id.endswith(("_ms", "_s"))
    return not (is_number or is_work or is_status or is_delay or ast.unparse(argument) in names)


def figures(source: str) -> list[tuple[int, str]]:
    return [
        (line, placeholder)
        for line, text in texts(source)
        for placeholder in placeholders(text)
        if placeholder not in NO_FIGURES and not placeholder.lstrip("_").isupper()
    ]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_text_of_a_status_has_a_figure(path: Path) -> None:
    assert not figures(path.read_text())


def test_the_texts_of_all_services_are_looked_at() -> None:
    for service in ("gateway", "codec", "lm", "common"):
        found = [text for path in SOURCES if service in path.parts for text in texts(path.read_text())]
        assert found or service == "codec"  # whose checks are all common


@pytest.mark.parametrize(
    "source",
    [
        'raise OverQuota(f"more than {self._most} calls", "CALLS")',
        'raise errors.LimitReached(f"late: {ratio:.3f}")',
        'raise NoFreeSlot("all %d slots" % total)',
        'raise InvalidInput("codes", "got {}".format(len(codes)))',
        'return End(grpc.StatusCode.OK, f"at most {most} streams")',
        'await within(work, 1.0, f"not within {limit_s} s")',
        'raise Unavailable("gone" if once else f"gone {times} times")',
    ],
)
def test_a_figure_in_a_text_is_found(source: str) -> None:
    body = source.removeprefix("return ").removeprefix("raise ").removeprefix("await ")
    assert figures(body)


def test_a_figure_beside_a_text_is_what_is_wanted() -> None:
    assert not figures('LimitReached("late", late_ratio=ratio)')

"""The tree of errors, and the one drawn of it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from google.protobuf.message import DecodeError

from moshi_cluster.services.common import errors
from moshi_cluster.services.common.errors import InvalidInput, SessionError, session_error


def drawn() -> Iterator[tuple[int, str, str]]:
    """Depth, name and status of every line of the drawing."""
    for line in (errors.__doc__ or "").splitlines():
        if found := re.fullmatch(r" {4}((?:[|+][ -]{3})*)(\w+) +([A-Z_]+)\b.*", line):
            yield len(found[1]) // 4, found[2], found[3]


def declared(error: type[SessionError], depth: int = 0) -> Iterator[tuple[int, str, str]]:
    """The same of the classes."""
    yield depth, error.__name__, error.status
    for child in error.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from declared(child, depth + 1)


def test_the_drawing_shows_the_tree_as_it_is() -> None:
    assert list(drawn()) == list(declared(SessionError))


def test_an_error_inside_groups_is_found() -> None:
    error = InvalidInput("codes", "too many")
    assert session_error(error) is error
    assert session_error(ExceptionGroup("outer", [ExceptionGroup("inner", [error])])) is error


def test_bytes_that_are_no_message_are_the_peers_fault() -> None:
    found = session_error(DecodeError("wire type 7"))
    assert isinstance(found, InvalidInput) and str(found) == "message: is not of the rpc's type"


BUG, MISTAKE = ZeroDivisionError(), InvalidInput("codes", "too many")


@pytest.mark.parametrize(
    "error", [BUG, ExceptionGroup("both", [BUG, MISTAKE]), ExceptionGroup("both", [MISTAKE, BUG])], ids=repr
)
def test_a_bug_is_not_hidden_by_an_error_beside_it(error: Exception) -> None:
    assert session_error(error) is None

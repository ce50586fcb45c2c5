"""One id leads through the logs of all three services, and nothing of what is said is in them."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from moshi_cluster.services.common.logs import LogHandler, OneLineFormatter
from moshi_cluster.services.common.session_id import known_session_id
from tests.services.gateway.caller import Caller
from tests.services.gateway.cluster import cluster


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """What services of this process log, as they would write it."""
    written: list[str] = []
    handler, logger = LogHandler(OneLineFormatter("test"), written.append, written.append), logging.getLogger()
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel("INFO")
    yield written
    logger.removeHandler(handler)
    logger.setLevel(before)


async def test_workers_lines_name_the_session_of_the_call(lines: list[str]) -> None:
    async with cluster() as all_of_it:
        ids = []
        for _ in range(2):
            caller = Caller(all_of_it.stub)
            ids.append((await caller.start()).session_id)
            await caller.say_levels([1, 2])
            await caller.hang_up()
            await all_of_it.until_free()
    for session_id in ids:
        of_it = [line for line in lines if f"session={session_id}" in line]
        for program in "encode", "decode", "lm":
            assert any(f"session over program={program} slot=0 outcome=" in line for line in of_it), lines
        assert all(line.count("session=") == 1 for line in of_it)


@pytest.mark.parametrize(
    ("told", "known"),
    [("0123abcd", "0123abcd"), ("a" * 64, "a" * 64), ("a" * 65, ""), ("two words", ""), ("a\nline", ""), ("", "")],
)
def test_a_session_id_from_elsewhere_is_checked(told: str, known: str) -> None:
    assert known_session_id(told) == known

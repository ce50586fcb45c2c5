"""Callers of a cluster check: who is cut off comes back, and what became of each is told."""

from __future__ import annotations

import grpc

from benchmarks.cluster_check.callers import Caller, Talk, parse
from tests.benchmarks.scripted_gateway import SHUTDOWN, Scripted, ended, gateway, leaving, sound, started

UNAVAILABLE, NOT_FOUND = grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.NOT_FOUND


async def talked(servicer: Scripted) -> Talk:
    async with gateway(servicer) as address:
        return await Caller(parse(["--target", address]), Talk(False, 0.0), 0.2).hold()


async def test_a_call_that_ends_as_it_should_is_neither_lost_nor_refused() -> None:
    talk = await talked(Scripted([started("a"), sound(3)]))
    assert (talk.lost, talk.refused, talk.resumed, talk.cuts) == ("", "", 0, [])


async def test_who_is_cut_off_comes_back_with_the_token_and_what_they_heard() -> None:
    servicer = Scripted(
        [started("a"), sound(3), UNAVAILABLE], [NOT_FOUND], [started("b", 3), sound(2), leaving()], [started("c")]
    )
    talk = await talked(servicer)
    assert [(start.resume_token, start.resume_heard_frames) for start in servicer.starts] == [
        ("", 0),
        ("a", 3),
        ("a", 3),
        ("b", 5),
    ]
    assert (talk.lost, talk.refused, talk.resumed) == ("", "", 2)


async def test_a_call_that_its_gateway_cuts_is_gone_on_with() -> None:
    talk = await talked(Scripted([started("a"), ended(SHUTDOWN)], [started("b")]))
    assert (talk.lost, talk.resumed) == ("", 1)


async def test_a_call_that_never_began_is_refused_and_not_made_again() -> None:
    servicer = Scripted([UNAVAILABLE])
    talk = await talked(servicer)
    assert talk.refused.startswith("UNAVAILABLE") and not talk.lost
    assert len(servicer.starts) == 1

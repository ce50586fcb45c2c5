"""Voice on its way: what was sent and not read is bounded, and what is read makes room."""

from __future__ import annotations

import asyncio

import hypothesis
import pytest
from hypothesis import strategies as st

from moshi_cluster.services.gateway.api.acknowledgements import Acknowledgements
from tests.services.in_process import few_turns

RATE_HZ = 24_000
PACKET = 960


async def sent_until_full(acknowledgements: Acknowledgements, most_packets: int = 1000) -> tuple[int, list[bytes]]:
    """How many packets leave before there is no room, and the pings between them."""
    pings: list[bytes] = []
    for packets in range(most_packets):
        waiting = asyncio.create_task(acknowledgements.until_room())
        await few_turns()
        if not waiting.done():
            waiting.cancel()
            return packets, pings
        if (ping := acknowledgements.sent(PACKET)) is not None:
            pings.append(ping)
    return most_packets, pings


async def test_a_client_that_stops_reading_gets_a_second_and_no_more() -> None:
    acknowledgements = Acknowledgements(RATE_HZ, most_s=1.0)
    acknowledgements.pong(acknowledgements.ping())
    packets, pings = await sent_until_full(acknowledgements)
    assert packets * PACKET == RATE_HZ
    assert len(pings) == 5, "one for every fifth of a second"


async def test_what_is_read_makes_room() -> None:
    acknowledgements = Acknowledgements(RATE_HZ, most_s=1.0)
    acknowledgements.pong(acknowledgements.ping())
    _, pings = await sent_until_full(acknowledgements)
    waiting = asyncio.create_task(acknowledgements.until_room())
    acknowledgements.pong(pings[1])
    await waiting
    assert acknowledgements.on_its_way_samples == RATE_HZ - 10 * PACKET
    packets, _ = await sent_until_full(acknowledgements)
    assert packets == 10


async def test_a_client_that_answers_no_pings_is_not_held_back() -> None:
    acknowledgements = Acknowledgements(RATE_HZ, most_s=1.0)
    assert (await sent_until_full(acknowledgements))[0] == 1000


async def test_nobody_waits_for_a_client_that_is_gone() -> None:
    acknowledgements = Acknowledgements(RATE_HZ, most_s=1.0)
    acknowledgements.pong(acknowledgements.ping())
    await sent_until_full(acknowledgements)
    waiting = asyncio.create_task(acknowledgements.until_room())
    await few_turns()
    acknowledgements.close()
    await waiting


@pytest.mark.parametrize("payload", [b"", b"x", bytes(7), bytes(9), b"\xff" * 8, (RATE_HZ + 1).to_bytes(8, "big")])
async def test_pongs_that_answer_nothing_mean_nothing(payload: bytes) -> None:
    acknowledgements = Acknowledgements(RATE_HZ, most_s=1.0)
    acknowledgements.pong(acknowledgements.ping())
    await sent_until_full(acknowledgements)
    acknowledgements.pong(payload)
    assert acknowledgements.on_its_way_samples == RATE_HZ


@hypothesis.given(steps=st.lists(st.integers(0, 12), max_size=60), most_s=st.sampled_from([0.05, 0.4, 1.0]))
async def test_never_more_is_on_its_way_than_may_be(steps: list[int], most_s: float) -> None:
    """A client that reads now and then; the pongs come in order."""
    acknowledgements = Acknowledgements(RATE_HZ, most_s)
    pings = [acknowledgements.ping()]
    acknowledgements.pong(pings.pop())
    for read in steps:
        _, new = await sent_until_full(acknowledgements, 5)
        pings += new
        assert acknowledgements.on_its_way_samples < most_s * RATE_HZ + PACKET
        for ping in pings[:read]:
            acknowledgements.pong(ping)
        del pings[:read]
    for ping in pings:
        acknowledgements.pong(ping)
    assert acknowledgements.on_its_way_samples <= max(0.2, PACKET / RATE_HZ) * RATE_HZ

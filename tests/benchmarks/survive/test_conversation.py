"""Callers whose calls end: when they call again, where, and with what."""

from __future__ import annotations

import asyncio

import grpc

from benchmarks.survive.conversation import Conversation, Voice
from benchmarks.survive.gateways import Gateways
from moshi_cluster.v1 import gateway_pb2
from tests.benchmarks.scripted_gateway import SHUTDOWN, Scripted, ended, gateway, leaving, sound, started

PACKET = gateway_pb2.ConverseRequest(audio=gateway_pb2.Audio(data=bytes(160))).SerializeToString()
DEAD = "127.0.0.1:1"


async def held(gateways: Gateways, resumes: bool = True) -> Conversation:
    conversation = Conversation(Voice(0, [PACKET]), gateways, 0.3, 2000, resumes)
    await conversation.hold()
    return conversation


async def test_a_lost_call_goes_on_on_another_gateway() -> None:
    one = Scripted([started("a"), sound(3), grpc.StatusCode.UNAVAILABLE])
    other = Scripted([started("b", remembered=3)])
    async with gateway(one) as first, gateway(other) as second:
        conversation = await held(Gateways({"gateway-0": first, "gateway-1": second}))
    (start,) = other.starts
    assert (start.resume_token, start.resume_heard_frames) == ("a", 3)
    assert [call.forgotten_frames for call in conversation.calls] == [0, 2]
    assert not conversation.lost
    assert conversation.is_over


async def test_a_call_that_its_gateway_cuts_goes_on_and_what_was_resumed_counts_on() -> None:
    scripts = (
        [started("a"), sound(3), ended(SHUTDOWN)],
        [started("b", remembered=3), sound(2), grpc.StatusCode.UNAVAILABLE],
        [started("c", remembered=5)],
    )
    both = Scripted(*scripts)
    async with gateway(both) as address:
        conversation = await held(Gateways({"gateway-0": address}))
    assert [(start.resume_token, start.resume_heard_frames) for start in both.starts] == [("", 0), ("a", 3), ("b", 5)]
    assert not conversation.lost


async def test_who_is_told_that_the_gateway_leaves_leaves_it() -> None:
    one, other = Scripted([started("a"), leaving()]), Scripted([started("b", remembered=1)])
    async with gateway(one) as first, gateway(other) as second:
        conversation = await held(Gateways({"gateway-0": first, "gateway-1": second}))
    assert [start.resume_token for start in other.starts] == ["a"]
    assert not conversation.lost


async def test_a_refused_resumption_is_tried_again_with_the_same_token() -> None:
    one = Scripted([started("a"), grpc.StatusCode.UNAVAILABLE], [grpc.StatusCode.NOT_FOUND], [started("b", 1)])
    async with gateway(one) as address:
        conversation = await held(Gateways({"gateway-0": address}))
    assert [start.resume_token for start in one.starts] == ["", "a", "a"]
    assert len(conversation.calls) == 2
    assert not conversation.lost


async def test_a_call_that_nobody_takes_up_again_is_lost() -> None:
    async with gateway(Scripted([started("a"), grpc.StatusCode.UNAVAILABLE])) as address:
        conversation = await held(Gateways({"gateway-0": address}), resumes=False)
    assert conversation.lost
    assert not conversation.refused


async def test_a_call_that_never_began_is_refused_and_not_made_again() -> None:
    one = Scripted([grpc.StatusCode.RESOURCE_EXHAUSTED])
    async with gateway(one) as address:
        conversation = await held(Gateways({"gateway-0": address}))
    assert conversation.refused
    assert not conversation.lost
    assert len(one.starts) == 1


async def test_who_was_sent_to_a_gateway_that_is_gone_calls_the_other() -> None:
    one = Scripted([started("a")])
    async with gateway(one) as address:
        gateways = Gateways({"gateway-0": DEAD, "gateway-1": address})
        conversation = Conversation(Voice(0, [PACKET]), gateways, 0.3, 2000, resumes=True)
        holding = asyncio.create_task(conversation.hold())
        await asyncio.sleep(0)  # they are on their way
        gateways.leave_out("gateway-0")
        await holding
    assert not conversation.refused
    assert len(one.starts) == 1


def test_gateways_take_turns_and_the_last_one_stays() -> None:
    gateways = Gateways({"gateway-0": "a", "gateway-1": "b"})
    assert [gateways.next() for _ in range(3)] == ["a", "b", "a"]
    gateways.leave_out("gateway-1")
    gateways.leave_out("gateway-0")
    assert [gateways.next() for _ in range(2)] == ["a", "a"]
    assert gateways.other("a") == "a"
    gateways.take_back("gateway-1")
    gateways.take_back("lm-0")
    assert gateways.other("a") == "b"
    assert gateways.in_rotation("b")

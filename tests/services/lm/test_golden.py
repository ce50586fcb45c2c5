"""The lm service gives the original implementation's tokens, and a session can be rebuilt from its history.

A primed session is ahead of the original by the one call that returns nothing: fed the golden user codes from the
second frame on, it answers with the golden tokens from the second row on.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from moshi_cluster.v1 import common_pb2, lm_pb2_grpc
from tests.services.golden_workers import golden_lm, golden_tensors, greedy_open, open_with, tokens_of, user_frames
from tests.services.in_process import read_all, serving

pytestmark = [pytest.mark.parity, pytest.mark.usefixtures("nothing_swallowed")]


@pytest_asyncio.fixture(params=["off", "on"], ids=["plain step", "static step"])
async def stub(request: pytest.FixtureRequest) -> AsyncIterator[lm_pb2_grpc.LmStub]:
    async with serving(
        golden_lm(slots=3, static_step=request.param)
    ) as listener:  # one spare: a slot is cleaned a moment after its stream ended
        yield lm_pb2_grpc.LmStub(listener.channel)


def golden_conversation() -> tuple[list[list[int]], list[list[int]]]:
    """User codes [119, 8] and the tokens that answer them [119, 9]."""
    outputs = golden_tensors("lm_tiny/outputs_f32")
    return outputs["user_codes"].T[1:].tolist(), outputs["tokens"][1:].tolist()


async def test_a_greedy_session_gives_the_golden_tokens(stub: lm_pb2_grpc.LmStub) -> None:
    user, tokens = golden_conversation()
    opened, *replies = await read_all(stub.Generate(iter([greedy_open(), *user_frames(user)])))
    assert opened.opened.prefilled_frames == 0
    assert tokens_of(replies) == tokens


@pytest.mark.parametrize("cut", [1, 30, 75])
async def test_a_session_restored_from_its_history_goes_on_as_if_nothing_had_happened(
    stub: lm_pb2_grpc.LmStub, cut: int
) -> None:
    user, tokens = golden_conversation()
    history = [[*reply, *heard] for reply, heard in zip(tokens[:cut], user[:cut], strict=True)]
    opened, *replies = await read_all(stub.Generate(iter([greedy_open(history), *user_frames(user[cut:])])))
    assert opened.opened.prefilled_frames == cut
    assert tokens_of(replies) == tokens[cut:]


async def test_sessions_side_by_side_give_what_each_gives_alone(stub: lm_pb2_grpc.LmStub) -> None:
    user, tokens = golden_conversation()
    requests = [open_with(common_pb2.Sampling(seed=2**64 - 1)), *user_frames(user[:40])]
    alone = await read_all(stub.Generate(iter(requests)))
    greedy, sampled = await asyncio.gather(
        read_all(stub.Generate(iter([greedy_open(), *user_frames(user)]))), read_all(stub.Generate(iter(requests)))
    )
    assert tokens_of(greedy[1:]) == tokens
    assert tokens_of(sampled[1:]) == tokens_of(alone[1:])


async def test_the_seed_decides_the_conversation(stub: lm_pb2_grpc.LmStub) -> None:
    user, _ = golden_conversation()

    async def conversation(seed: int) -> list[list[int]]:
        requests = [open_with(common_pb2.Sampling(seed=seed)), *user_frames(user[:20])]
        return tokens_of((await read_all(stub.Generate(iter(requests))))[1:])

    first, again, other = [await conversation(seed) for seed in (1, 1, 2)]
    assert first == again
    assert first != other

"""The small server answers as a real Triton was recorded to."""

from __future__ import annotations

import json
from pathlib import Path

import grpc
import pytest

pytest.importorskip("tritonclient", reason="no tritonclient: pip install '.[triton]'")

from tests.services.codec.triton.conversations import converse
from tests.services.codec.triton.fake_triton import FakeTriton, listening

RECORDED = json.loads((Path(__file__).parent / "recorded.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module", name="answered")
def _answered() -> dict[str, object]:
    import asyncio

    return asyncio.run(_converse())


async def _converse() -> dict[str, object]:
    triton = FakeTriton()

    async def pause() -> None:
        triton.encode.forget()

    async with (
        listening(triton) as (_, port),
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        return await converse(channel, pause)


@pytest.mark.parametrize("conversation", RECORDED)
def test_a_conversation_goes_as_with_a_real_triton(conversation: str, answered: dict[str, object]) -> None:
    assert answered[conversation] == RECORDED[conversation]


def test_every_conversation_was_recorded(answered: dict[str, object]) -> None:
    assert answered.keys() == RECORDED.keys()

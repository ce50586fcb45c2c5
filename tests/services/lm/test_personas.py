"""An lm worker gives sessions their roles and voices, keeps prompts, and refuses what it has not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import grpc
import pytest
import pytest_asyncio

from moshi_cluster.services.common.errors import InvalidInput
from moshi_cluster.services.lm.personas import Personas
from moshi_cluster.v1 import common_pb2, lm_pb2, lm_pb2_grpc
from tests.models.moshi_lm.personas import golden, persona_lm
from tests.services.fake_workers import FakeLm
from tests.services.golden_workers import greedy_open, tokens_of, user_frames
from tests.services.in_process import read_all, serving
from tests.services.persona_worker import PERSONAS, PersonaLm, persona_folder

TEXT = "open.persona.text_prompt"
pytestmark = pytest.mark.usefixtures("nothing_swallowed")


@pytest_asyncio.fixture(params=["off", "on"], ids=["plain step", "static step"])
async def service(request: pytest.FixtureRequest, tmp_path: Path) -> PersonaLm:
    return PersonaLm(persona_folder(tmp_path), static_step=request.param)


@pytest_asyncio.fixture
async def stub(service: PersonaLm) -> AsyncIterator[lm_pb2_grpc.LmStub]:
    async with serving(service) as listener:
        yield lm_pb2_grpc.LmStub(listener.channel)


def open_as(persona: common_pb2.Persona, history: Sequence[list[int]] = ()) -> lm_pb2.GenerateRequest:
    request = greedy_open(history)
    request.open.persona.CopyFrom(persona)
    return request


async def talk(
    stub: lm_pb2_grpc.LmStub, persona: common_pb2.Persona, user: list[list[int]], history: Sequence[list[int]] = ()
) -> tuple[lm_pb2.GenerateResponse.Opened, list[list[int]]]:
    opened, *replies = await read_all(stub.Generate(iter([open_as(persona, history), *user_frames(user)])))
    return opened.opened, tokens_of(replies)


async def test_eight_calls_with_four_personas_each_say_what_they_say_alone(stub: lm_pb2_grpc.LmStub) -> None:
    calls = [(PERSONAS[i % 4], golden()["user_codes"][i : i + 30].tolist()) for i in range(8)]
    alone = [(await talk(stub, *call))[1] for call in calls]
    assert len({str(tokens) for tokens in alone}) == 8
    together = await asyncio.gather(*(talk(stub, *call) for call in calls))
    assert [tokens for _, tokens in together] == alone


async def test_the_second_session_with_a_persona_is_counted_and_opens_with_what_was_kept(
    stub: lm_pb2_grpc.LmStub, service: PersonaLm
) -> None:
    user = golden()["user_codes"][:3].tolist()
    first, said = await talk(stub, PERSONAS[0], user)
    again, repeated = await talk(stub, PERSONAS[0], user)
    assert first.prefilled_frames == again.prefilled_frames > 12
    assert said == repeated
    cache = service.model.prompt_cache
    assert cache is not None
    assert (cache.hits, cache.misses) == (1, 1)
    assert {sample.value for metric in service.lm_metrics.collect() for sample in metric.samples} == {1, cache.nbytes}


async def test_a_session_goes_on_elsewhere_with_its_persona_and_its_history(stub: lm_pb2_grpc.LmStub) -> None:
    user = golden()["user_codes"][:30].tolist()
    _, whole = await talk(stub, PERSONAS[0], user)
    history = [[*said, *heard] for said, heard in zip(whole[:18], user[:18], strict=True)]
    assert (await talk(stub, PERSONAS[0], user[18:], history))[1] == whole[18:]


@pytest.mark.parametrize(
    ("persona", "words"),
    [
        (common_pb2.Persona(voice="NATF2.pt"), "open.persona.voice: unknown voice"),
        (common_pb2.Persona(voice="../VOICE0"), "open.persona.voice: unknown voice"),
        (
            common_pb2.Persona(text_prompt="bread " * 40),
            "open.persona.text_prompt: makes the prompt longer than it may be",
        ),
        (common_pb2.Persona(text_prompt="a" * 4097), "open.persona.text_prompt: must be at most 4096 characters"),
    ],
)
async def test_what_it_has_not_is_refused_by_name(
    persona: common_pb2.Persona, words: str, stub: lm_pb2_grpc.LmStub
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await talk(stub, persona, [])
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert refused.value.details() == words


async def test_a_model_without_prompts_says_so() -> None:
    async with serving(FakeLm()) as listener:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await talk(lm_pb2_grpc.LmStub(listener.channel), common_pb2.Persona(text_prompt="hello"), [])
        assert refused.value.details() == "open.persona: the checkpoint takes no prompts"
        await talk(lm_pb2_grpc.LmStub(listener.channel), common_pb2.Persona(text_prompt="  "), [])  # that is none


def test_a_text_is_put_between_tags_unless_it_is() -> None:
    seen: list[str] = []
    personas = Personas(persona_lm().config, lambda text: seen.append(text) or [5], {}, 30)  # type: ignore[func-returns-value]
    for text in (" be kind ", "<system> be kind <system>"):
        personas.prompt(text, "")
    assert seen == ["<system> be kind <system>"] * 2
    with pytest.raises(InvalidInput, match="not in the model's vocabulary"):
        Personas(persona_lm().config, lambda text: [96], {}, 30).prompt("x", "")

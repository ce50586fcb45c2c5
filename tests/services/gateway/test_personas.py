"""A persona travels from the caller to the lm, and stays with the conversation wherever that goes on."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from moshi_cluster.services.common.errors import InvalidInput
from moshi_cluster.v1 import common_pb2, gateway_pb2
from tests.services.gateway.api.websocket.chatter import ERROR, HTTP, METADATA, chatting
from tests.services.gateway.caller import Caller
from tests.services.gateway.cluster import EchoLm, cluster

pytestmark = pytest.mark.usefixtures("nothing_swallowed")

IGNORED = gateway_pb2.Event.KIND_PROMPTS_IGNORED
TEACHER = common_pb2.Persona(text_prompt="you are a teacher", voice="NATF2.pt")
NO_PROMPTS = "the checkpoint takes no prompts"


class PersonaLm(EchoLm):
    """Takes every prompt, and notes it."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(prompt=self._take, **settings)
        self.asked: list[tuple[str, str, int]] = []  # text, voice, frames of history

    def _take(self, text: str, voice: str) -> None:
        self.asked.append((text, voice, 0))

    async def _parse_open(self, request: Any) -> Any:
        spec = await super()._parse_open(request)
        self.asked[-1] = (*self.asked[-1][:2], len(spec.history))
        return spec


async def test_the_lm_is_asked_for_what_the_caller_asks_for() -> None:
    lm = PersonaLm()
    async with cluster(lms=[lm], **HTTP) as all_of_it:
        caller = Caller(all_of_it.stub)
        await caller.start(persona=TEACHER)
        async with chatting(all_of_it, "?text_prompt=you%20are%20a%20teacher&voice_prompt=NATF2.pt&seed=7") as chatter:
            await chatter.ready()
        caller.call.cancel()
    assert [asked[:2] for asked in lm.asked] == [("you are a teacher", "NATF2.pt")] * 2


async def test_a_resumed_call_has_the_persona_of_the_one_that_was_lost() -> None:
    lm = PersonaLm()
    async with cluster(lms=[lm]) as all_of_it:
        caller = Caller(all_of_it.stub)
        started = await caller.start(persona=TEACHER)
        await caller.say_levels(range(3))
        await caller.answered(3)
        caller.call.cancel()
        await all_of_it.until_free()
        again = Caller(all_of_it.stub)
        await again.start(resume_token=started.resume_token)
        again.call.cancel()
    assert [asked[:2] for asked in lm.asked] == [("you are a teacher", "NATF2.pt")] * 2
    assert lm.asked[1][2] == 3


async def test_the_lm_is_told_of_a_prompt_that_lies_before_what_the_model_looks_back_on() -> None:
    lm = PersonaLm(context=4)
    async with cluster(lms=[lm]) as all_of_it:
        caller = Caller(all_of_it.stub)
        started = await caller.start(persona=TEACHER)
        await caller.say_levels(range(6))
        await caller.answered(6)
        caller.call.cancel()
        await all_of_it.until_free()
        again = Caller(all_of_it.stub)
        await again.start(resume_token=started.resume_token)
        again.call.cancel()
    assert lm.asked[1] == ("you are a teacher", "NATF2.pt", 4)


async def test_a_model_without_prompts_is_said_on_grpc_by_the_fields_name() -> None:
    async with cluster() as all_of_it:
        caller = Caller(all_of_it.stub)
        await caller.send_start(persona=TEACHER)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await caller.rest()
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert refused.value.details() == f"start.persona: {NO_PROMPTS}"
        await all_of_it.until_free()


async def test_a_model_without_prompts_is_said_on_api_chat_in_an_error_message() -> None:
    async with cluster(**HTTP) as all_of_it:
        async with chatting(all_of_it, "?voice_prompt=NATF2.pt&text_prompt=") as chatter:
            assert (await chatter.until(ERROR)).decode() == f"text_prompt, voice_prompt: {NO_PROMPTS}"
        await all_of_it.until_free()


async def test_an_operator_may_have_prompts_passed_over_and_the_caller_is_told() -> None:
    async with cluster(unsupported_prompts="ignore-with-event", **HTTP) as all_of_it:
        caller = Caller(all_of_it.stub)
        await caller.start(persona=TEACHER)
        await caller.say_levels(range(2))
        await caller.call.done_writing()
        heard = await caller.rest()
        assert [event.detail for event in heard.events(IGNORED)] == ["the model takes no prompts"]
        assert heard.counters.frames_out == 2
        async with chatting(all_of_it, "?voice_prompt=NATF2.pt") as chatter:
            await chatter.ready()
            assert (await chatter.until(METADATA, "event"))["kind"] == "prompts_ignored"


@pytest.mark.parametrize(
    ("persona", "words"),
    [
        (common_pb2.Persona(text_prompt="a" * 4097), "start.persona.text_prompt: must be at most 4096 characters"),
        (common_pb2.Persona(voice="a" * 129), "start.persona.voice: must be at most 128 characters"),
    ],
)
async def test_its_length_is_bounded_before_anybody_is_asked(persona: common_pb2.Persona, words: str) -> None:
    async with cluster() as all_of_it:
        caller = Caller(all_of_it.stub)
        await caller.send_start(persona=persona)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await caller.rest()
        assert refused.value.details() == words


def only_anna(text: str, voice: str) -> None:
    if voice and voice != "ANNA":
        raise InvalidInput("open.persona.voice", "unknown voice", known="ANNA")


async def test_an_unknown_voice_is_said_with_those_that_there_are() -> None:
    async with cluster(lms=[EchoLm(prompt=only_anna)], **HTTP) as all_of_it:
        caller = Caller(all_of_it.stub)
        await caller.send_start(persona=TEACHER)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await caller.rest()
        assert refused.value.details() == "start.persona.voice: unknown voice"
        info = error_details_pb2.ErrorInfo()
        status = rpc_status.from_call(refused.value)
        assert status is not None and status.details[0].Unpack(info)
        assert dict(info.metadata) == {"field": "start.persona.voice", "known": "ANNA"}
        async with chatting(all_of_it, "?voice_prompt=NATF2.pt") as chatter:
            assert (await chatter.until(ERROR)).decode() == "voice_prompt: unknown voice (known: ANNA)"


async def test_a_loopback_call_has_no_persona() -> None:
    async with cluster(**HTTP) as all_of_it:
        async with chatting(all_of_it, "?loopback=true&voice_prompt=NATF2.pt") as chatter:
            assert (await chatter.until(ERROR)).decode() == "voice_prompt: belongs to no loopback call"
        caller = Caller(all_of_it.stub)
        await caller.send_start(persona=TEACHER, loopback=True)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await caller.rest()
        assert refused.value.details() == "start.persona.text_prompt: belongs to no loopback call"

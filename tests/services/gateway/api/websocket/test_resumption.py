"""A conversation whose connection was lost goes on over another one, once, for a while."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from moshi_cluster.v1 import common_pb2
from tests.services.gateway.api.websocket.chatter import (
    HTTP,
    LOOPBACK,
    METADATA,
    STATS,
    Chatter,
    chatting,
    coming_back,
)
from tests.services.gateway.caller import Caller
from tests.services.gateway.cluster import Cluster, EchoCodec, EchoLm, cluster
from tests.services.in_process import eventually, serving

pytestmark = pytest.mark.usefixtures("nothing_swallowed")

SAMPLING = common_pb2.Sampling(seed=1)
QUERY = "?stats=true&text_temperature=0.5&text_seed=3&audio_seed=4"


@asynccontextmanager
async def talking(all_of_it: Cluster, query: str = QUERY, frames: int = 3) -> AsyncIterator[tuple[Chatter, str]]:
    """A client that has had this many answers, and its key."""
    async with chatting(all_of_it, query) as chatter:
        await chatter.ready()
        key: str = await chatter.until(METADATA, "resume")
        await chatter.say(frames)
        await chatter.answered(frames)
        yield chatter, key


async def back_with(key: str, all_of_it: Cluster, lm: EchoLm) -> tuple[bool, int]:
    """Whether a client with this key was told that the conversation goes on, and how many frames the lm was given."""
    async with chatting(all_of_it, STATS, **coming_back(key)) as chatter:
        await chatter.ready()
        (spec,) = lm.runner.specs.values()
        return chatter.metadata["resumed"], len(spec.history)


async def test_a_lost_conversation_goes_on_with_its_tokens_sampling_and_seeds() -> None:
    lm = EchoLm()
    async with cluster(lms=[lm], **HTTP) as all_of_it:
        async with talking(all_of_it) as (chatter, key):
            (before,) = lm.runner.specs.values()
            chatter.vanish()
        await eventually(lambda: not lm.runner.specs)
        async with chatting(all_of_it, STATS + "&text_temperature=1.5&text_seed=9", **coming_back(key)) as chatter:
            await chatter.ready()
            assert chatter.metadata["resumed"] is True
            assert (chatter.metadata["text_seed"], chatter.metadata["text_temperature"]) == (3, 0.5)
            (after,) = lm.runner.specs.values()
            assert len(before.history) == 0
            assert [row[0] for row in after.history.tolist()] == [0, 1, 2]  # text tokens of the frames before
            assert after.sampling == before.sampling
            next_key = await chatter.until(METADATA, "resume")
            assert next_key != key
            await chatter.say(2)
            await chatter.answered(2)
            chatter.vanish()
        await eventually(lambda: not lm.runner.specs)
        async with chatting(all_of_it, STATS, **coming_back(next_key)) as chatter:
            await chatter.ready()
            (again,) = lm.runner.specs.values()
            assert len(again.history) == 5


async def test_a_conversation_goes_on_with_as_many_frames_as_the_lm_looks_back_on() -> None:
    lm = EchoLm(context=2)
    async with cluster(lms=[lm], **HTTP) as all_of_it:
        async with talking(all_of_it, frames=5) as (chatter, key):
            chatter.vanish()
        await eventually(lambda: not lm.runner.specs)
        async with chatting(all_of_it, STATS, **coming_back(key)) as chatter:
            await chatter.ready()
            assert chatter.metadata["resumed"] is True
            (after,) = lm.runner.specs.values()
            assert [row[0] for row in after.history.tolist()] == [3, 4]  # text tokens of the last frames


async def test_a_client_that_is_back_before_its_loss_was_noticed_takes_over() -> None:
    lm = EchoLm()
    async with (
        cluster(lms=[lm], **HTTP) as all_of_it,
        talking(all_of_it) as (chatter, key),
        chatting(all_of_it, STATS, **coming_back(key)) as back,
    ):
        await back.ready()
        assert back.metadata["resumed"] is True
        assert await chatter.end() == (1000, "the conversation goes on over another connection")
        await eventually(lambda: len(lm.runner.specs) == 1)  # the old one's slot was cleaned
        (spec,) = lm.runner.specs.values()
        assert len(spec.history) == 3


async def test_a_conversation_whose_worker_fails_while_no_other_has_room_can_be_resumed() -> None:
    first, second = EchoCodec(1), EchoCodec(1)
    async with cluster([first, second], **HTTP) as all_of_it:
        await eventually(lambda: len(all_of_it.manager.fleet.codec.usable) == 2)
        async with talking(all_of_it) as (chatter, key):
            failing = first if first.live_sessions else second
            async with chatting(all_of_it) as other:
                await other.ready()
                failing.encoder.failure = failing.decoder.failure = RuntimeError("gone")
                await chatter.say(1)
                assert (await chatter.end())[0] == 1011
        await eventually(lambda: all_of_it.manager.fleet.has_capacity)
        async with chatting(all_of_it, STATS, **coming_back(key)) as chatter:
            await chatter.ready()
            assert chatter.metadata["resumed"] is True


async def test_a_conversation_goes_on_with_the_model_that_it_began_with() -> None:
    old, new = EchoLm(9, checkpoint="01d"), EchoLm(2, checkpoint="2e3")
    async with cluster([EchoCodec(9)], [old, new], **HTTP) as all_of_it:
        await eventually(lambda: len(all_of_it.manager.fleet.lm.taking) == 2)
        async with talking(all_of_it) as (chatter, key):
            assert chatter.metadata["lm_model_file"] == "01d"
            chatter.vanish()
        await all_of_it.until_free()
        others = [await all_of_it.manager.fleet.open(SAMPLING, lambda most: (0, ()), "01d") for _ in range(8)]
        async with chatting(all_of_it, STATS, **coming_back(key)) as back:
            await back.ready()
            assert (back.metadata["resumed"], back.metadata["lm_model_file"]) == (True, "01d")
        for streams in others:
            streams.cancel()


async def test_a_conversation_whose_model_is_gone_begins_anew() -> None:
    old = EchoLm(9, checkpoint="01d")
    async with cluster(lms=[old], **HTTP) as all_of_it:
        async with talking(all_of_it) as (chatter, key):
            chatter.vanish()
        await all_of_it.until_free()
        address = all_of_it.listening[1].target
        await all_of_it.listening[1].server.stop(None)
        await eventually(lambda: all_of_it.sample("moshi_gateway_workers", service="lm") == 0)
        async with serving(EchoLm(checkpoint="2e3"), address=address):
            await eventually(lambda: all_of_it.sample("moshi_gateway_workers", service="lm") == 1)
            async with chatting(all_of_it, STATS, **coming_back(key)) as back:
                await back.ready()
                assert (back.metadata["resumed"], back.metadata["lm_model_file"]) == (False, "2e3")


async def close_with(chatter: Chatter, code: int) -> None:
    """Sends a close frame with this code, written out here: 1005 is one without, 1006 none before the end."""
    match code:
        case 1006:
            chatter.socket._writer.transport.close()  # as a process that is killed: the kernel says farewell
        case 1005:
            await chatter.socket._writer.send_frame(b"", aiohttp.WSMsgType.CLOSE)
        case _:
            await chatter.socket.close(code=code)


@pytest.mark.parametrize("code", [1000, 1001, 1005, 1006, 1002, 1003, 1007, 1008, 1009, 1011, 1012, 1013, 3000, 4999])
async def test_a_conversation_is_kept_after_any_close_but_a_goodbye(code: int) -> None:
    lm = EchoLm()
    async with cluster(lms=[lm], **HTTP) as all_of_it:
        async with talking(all_of_it) as (chatter, key):
            await close_with(chatter, code)
        await all_of_it.until_free()
        outcome = "ok" if code == 1000 else "CANCELLED"
        await eventually(lambda: all_of_it.sample("moshi_gateway_sessions_total", outcome=outcome) == 1)
        assert await back_with(key, all_of_it, lm) == ((False, 0) if code == 1000 else (True, 3))


async def test_a_conversation_is_kept_after_bytes_that_are_no_websocket() -> None:
    lm = EchoLm()
    async with cluster(lms=[lm], **HTTP) as all_of_it:
        async with talking(all_of_it) as (chatter, key):
            chatter.socket._writer.transport.write(b"\xff" * 64)
            assert (await chatter.end())[0] == 1002
        await all_of_it.until_free()
        assert await back_with(key, all_of_it, lm) == (True, 3)


@pytest.mark.parametrize("why", ["unknown", "hung up", "used", "too old"])
async def test_what_cannot_be_resumed_begins_anew(why: str) -> None:
    lm = EchoLm()
    settings = {"resume_keep_s": 0.01} if why == "too old" else {}
    async with cluster(lms=[lm], **HTTP, **settings) as all_of_it:
        async with talking(all_of_it) as (chatter, key):
            if why == "hung up":
                await chatter.socket.close()
            else:
                chatter.vanish()
        await all_of_it.until_free()
        if why == "unknown":
            key = "no-such-key"
        elif why == "too old":
            await eventually(lambda: not all_of_it.manager.conversations.lost_conversations)
        elif why == "used":
            async with chatting(all_of_it, STATS, **coming_back(key)) as chatter:
                await chatter.ready()
            await all_of_it.until_free()
        assert await back_with(key, all_of_it, lm) == (False, 0)


@pytest.mark.parametrize("is_live", [True, False], ids=["live", "lost"])
async def test_a_key_is_worth_nothing_without_the_token_that_began_the_conversation(
    is_live: bool, tmp_path: Path
) -> None:
    """Whoever holds any other token neither takes a call over nor ends it."""
    (tmp_path / "tokens").write_text("first\nsecond\n")
    lm = EchoLm()
    async with (
        cluster(lms=[lm], token_file=str(tmp_path / "tokens"), **HTTP) as all_of_it,
        talking(all_of_it, QUERY + "&token=first") as (chatter, key),
    ):
        if not is_live:
            chatter.vanish()
            await eventually(lambda: not lm.runner.specs)
        async with chatting(all_of_it, STATS + "&token=second", **coming_back(key)) as other:
            await other.ready()
            assert other.metadata["resumed"] is False
        await eventually(lambda: len(lm.runner.specs) == is_live)
        if is_live:
            await chatter.say(1)
            await chatter.answered(4)
            chatter.vanish()
        async with chatting(all_of_it, STATS + "&token=first", **coming_back(key)) as back:
            await back.ready()
            assert back.metadata["resumed"] is True


async def test_the_key_is_told_with_the_time_for_which_it_is_good() -> None:
    async with cluster(resume_keep_s=12.5, **HTTP) as all_of_it, talking(all_of_it) as (chatter, _):
        assert chatter.metadata["resume_keep_s"] == 12.5


async def test_a_key_in_the_address_is_refused() -> None:
    async with cluster(**HTTP) as all_of_it, chatting(all_of_it, "?resume=secret-key") as chatter:
        code, error = await chatter.end()
        assert code == 1008
        assert error.startswith("resume: belongs into the subprotocol")
        assert "secret" not in error


async def test_a_client_that_offers_the_subprotocol_is_given_it_and_others_are_served_without() -> None:
    async with cluster(**HTTP) as all_of_it:
        for offered, chosen in ((("moshi-cluster", "moshi-cluster.resume.x"), "moshi-cluster"), (("binary",), None)):
            async with chatting(all_of_it, LOOPBACK, protocols=offered) as chatter:
                assert chatter.socket.protocol == chosen
                await chatter.ready()


async def test_a_conversation_survives_an_attempt_that_never_got_a_call() -> None:
    lm = EchoLm()
    async with cluster(lms=[lm], max_sessions=1, **HTTP) as all_of_it:
        async with talking(all_of_it) as (chatter, key):
            chatter.vanish()
        await all_of_it.until_free()
        phone = Caller(all_of_it.stub)
        await phone.start()
        async with chatting(all_of_it, STATS, **coming_back(key)) as chatter:
            await chatter.until(METADATA, "queue")
            assert chatter.metadata["resumed"] is True
            chatter.vanish()
        await eventually(lambda: all_of_it.sample("moshi_gateway_waiting") == 0)
        await phone.hang_up()
        await all_of_it.until_free()
        assert await back_with(key, all_of_it, lm) == (True, 3)


async def test_a_limit_is_not_got_round_by_resuming() -> None:
    async with cluster(session_max_s=0.5, **HTTP) as all_of_it, talking(all_of_it, frames=0) as (chatter, key):
        assert (await chatter.end())[0] == 1000
        async with chatting(all_of_it, STATS, **coming_back(key)) as back:
            await back.ready()
            assert back.metadata["resumed"] is False


@pytest.mark.parametrize(("settings", "query"), [({"resume_keep_s": 0.0}, STATS), ({}, LOOPBACK + "&stats=true")])
async def test_where_nothing_can_be_resumed_no_key_is_told(settings: dict[str, float], query: str) -> None:
    async with cluster(**HTTP, **settings) as all_of_it, chatting(all_of_it, query) as chatter:
        await chatter.ready()
        await chatter.say(1)
        await chatter.answered(1)
        await chatter.pong()
        assert "resume" not in chatter.metadata

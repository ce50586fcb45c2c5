"""Steps on records in a real Redis, whatever gets lost between: what can be claimed is what was written last."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moshi_cluster.services.common.secret_url import SecretUrl
from moshi_cluster.services.gateway.store.entry import Entry, Phase, Times
from moshi_cluster.services.gateway.store.record import open_record
from moshi_cluster.services.gateway.store.redis_client import RedisClient, Step
from moshi_cluster.services.gateway.store.scripts import CLAIM, Reply
from moshi_cluster.services.gateway.store.sealing import Seal, name_of
from tests.services.gateway.store.redis_server import RedisServer, redis_server
from tests.services.gateway.store.test_record import ABOUT, CLUSTER_KEY, grown

TIMES = Times(live_ms=60_000, lost_ms=60_000, lease_ms=60_000, retired_ms=60_000)
_numbers = itertools.count()


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with redis_server() as running:
        yield running


@pytest.fixture
async def client(server: RedisServer) -> AsyncIterator[RedisClient]:
    client = RedisClient(SecretUrl(server.url), timeout_s=20)
    yield client
    await client.close()


def an_entry(most_frames: int | None = None) -> Entry:
    key = f"key {next(_numbers)}"
    return Entry(name_of(key), Seal(CLUSTER_KEY, key), TIMES, grown(0), lambda: ABOUT, most_frames=most_frames)


async def run(client: RedisClient, entry: Entry, phase: Phase | None = None) -> Reply:
    """Does what is due for an entry."""
    entry.phase = phase or entry.phase
    step, done = entry.step()
    (reply,) = await client.run([step])
    assert isinstance(reply, Reply)
    done(reply)
    return reply


async def written(client: RedisClient, frames: int = 5) -> Entry:
    entry = an_entry()
    grown(frames, entry.frames)  # type: ignore[arg-type]
    assert await run(client, entry) is Reply.DONE
    return entry


async def claim(client: RedisClient, entry: Entry, owner: str = "other", lease_ms: int = 60_000) -> Reply:
    (reply, _) = await client.claim(Step(CLAIM, entry.name, (owner, lease_ms)))
    return reply


OPERATIONS = st.one_of(
    st.tuples(st.just("grow"), st.integers(1, 30)),
    st.tuples(st.sampled_from(["write", "answer lost", "step lost", "data lost"]), st.none()),
)


@given(st.lists(OPERATIONS, max_size=25), st.sampled_from([None, 1, 7, 20]))
def test_what_is_claimed_is_what_was_written_last(
    server: RedisServer, operations: list[tuple[str, int | None]], most_frames: int | None
) -> None:
    asyncio.run(_claimed_is_written(server, operations, most_frames))


async def _claimed_is_written(
    server: RedisServer, operations: list[tuple[str, int | None]], most_frames: int | None
) -> None:
    client, entry = RedisClient(SecretUrl(server.url), timeout_s=20), an_entry(most_frames)
    in_store: int | None = None
    for operation, frames in operations:
        total = entry.frames.total_frames  # type: ignore[union-attr]
        if operation == "grow":
            grown(total + (frames or 0), entry.frames)  # type: ignore[arg-type]
        elif operation == "write":
            if await run(client, entry) is Reply.DONE:
                in_store = total
        elif operation == "answer lost":
            (reply,) = await client.run([entry.step()[0]])
            in_store = total if reply is Reply.DONE else in_store
        elif operation == "step lost":
            entry.step()
        else:
            await client.run([Step("redis.call('DEL', KEYS[1]) return 'done'", entry.name, ())])
            in_store = None
    reply, fields = await client.claim(Step(CLAIM, entry.name, ("other", 60_000)))
    await client.close()
    assert reply is (Reply.MISSING if in_store is None else Reply.DONE)
    if in_store is not None:
        stored = open_record(entry.seal, fields)
        assert stored.total_frames == in_store
        assert stored.first_frame == 0 or (most_frames and in_store - stored.first_frame >= most_frames)
        assert stored.tokens == grown(in_store).tokens(stored.first_frame, in_store)
        pieces = [name for name in fields if name.isdigit()]
        assert len(pieces) <= len(operations)


async def test_frames_that_the_model_does_not_look_back_on_leave_the_store(client: RedisClient) -> None:
    entry = an_entry(most_frames=10)
    for frames in range(3, 60, 3):
        grown(frames, entry.frames)  # type: ignore[arg-type]
        await run(client, entry)
    _, fields = await client.claim(Step(CLAIM, entry.name, ("other", 60_000)))
    assert 10 <= sum(name.isdigit() for name in fields) * 3 <= 15


async def test_of_two_who_claim_at_once_one_gets_it(client: RedisClient) -> None:
    entry = await written(client)
    replies = await asyncio.gather(*(claim(client, entry, f"owner {index}") for index in range(8)))
    assert sorted(replies) == [Reply.DONE] + 7 * [Reply.TAKEN]


async def test_who_was_halted_while_another_took_the_conversation_writes_nothing_over_it(client: RedisClient) -> None:
    entry = await written(client)
    assert await claim(client, entry) is Reply.DONE
    grown(9, entry.frames)  # type: ignore[arg-type]
    for phase in (Phase.LIVE, Phase.LOST, Phase.RELEASED, Phase.CLAIMED, Phase.RETIRED):
        assert await run(client, entry, phase) is Reply.TAKEN
    await run(client, entry, Phase.ENDED)
    reply, fields = await client.claim(Step(CLAIM, entry.name, ("other", 60_000)))
    assert reply is Reply.DONE
    assert open_record(entry.seal, fields).total_frames == 5


async def test_what_went_on_under_another_key_is_neither_written_nor_claimed_again(client: RedisClient) -> None:
    halted = await written(client)
    heir = Entry(halted.name, halted.seal, TIMES, None, dict)
    assert await claim(client, halted, heir.owner) is Reply.DONE
    assert await run(client, heir, Phase.RETIRED) is Reply.DONE
    assert await claim(client, halted, "third") is Reply.TAKEN
    assert await run(client, halted, Phase.LIVE) is Reply.TAKEN


async def test_a_claim_is_worth_its_lease_and_no_longer(client: RedisClient) -> None:
    entry = await written(client)
    assert await claim(client, entry, "dies", lease_ms=1) is Reply.DONE
    await asyncio.sleep(0.05)
    assert await claim(client, entry, "next") is Reply.DONE
    assert await claim(client, entry, "third") is Reply.TAKEN


async def test_what_is_given_back_can_be_claimed_at_once(client: RedisClient) -> None:
    entry = await written(client)
    claimed = Entry(entry.name, entry.seal, TIMES, None, dict)
    assert await claim(client, entry, claimed.owner) is Reply.DONE
    assert await run(client, claimed, Phase.RELEASED) is Reply.DONE
    assert await claim(client, entry, "next") is Reply.DONE


async def test_what_ended_well_is_gone_at_once(client: RedisClient) -> None:
    entry = await written(client)
    await run(client, entry, Phase.ENDED)
    assert await client.head(entry.name) is None
    assert await claim(client, entry) is Reply.MISSING


async def test_every_record_expires(client: RedisClient) -> None:
    times = Times(live_ms=30, lost_ms=30, lease_ms=30, retired_ms=30)
    entries = [an_entry() for _ in range(4)]
    for entry, phase in zip(entries, (Phase.LIVE, Phase.LOST, Phase.RELEASED, Phase.RETIRED), strict=True):
        entry.times = times
        await run(client, entry, Phase.LIVE)
        await run(client, entry, phase)
    await asyncio.sleep(0.1)
    assert [await claim(client, entry) for entry in entries] == 4 * [Reply.MISSING]

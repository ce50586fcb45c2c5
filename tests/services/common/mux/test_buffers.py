"""Buffers of the stream multiplexer: what waits at either end of it."""

from __future__ import annotations

import asyncio

import grpc
from hypothesis import given
from hypothesis import strategies as st

from moshi_cluster.services.common.mux import buffers
from moshi_cluster.services.common.mux.buffers import CODES, INBOX_MESSAGES, End, Inbox, Outbox, max_bundle_bytes
from moshi_cluster.v1 import trunk_pb2

LOST = End(grpc.StatusCode.UNAVAILABLE, "gone")


class Peer:
    """Takes bundles, one whenever the test lets it."""

    def __init__(self) -> None:
        self.bundles: list[trunk_pb2.TrunkBundle] = []
        self.permits = asyncio.Semaphore(0)

    async def write(self, bundle: trunk_pb2.TrunkBundle) -> None:
        await self.permits.acquire()
        self.bundles.append(bundle)

    @property
    def streams(self) -> list[int]:
        return [item.stream for bundle in self.bundles for item in bundle.items]


def item(stream: int, message: bytes = b"") -> trunk_pb2.TrunkItem:
    return trunk_pb2.TrunkItem(stream=stream, message=message)


async def test_an_inbox_gives_messages_in_order_and_then_the_end() -> None:
    inbox = Inbox()
    for message in (b"a", b"b"):
        assert inbox.put(message)
    inbox.close(LOST)
    assert [await inbox.get() for _ in range(4)] == [b"a", b"b", LOST, LOST]


async def test_who_waits_at_an_inbox_is_woken_by_a_message_and_by_the_end() -> None:
    inbox = Inbox()
    for arrive, expected in ((lambda: inbox.put(b"a"), b"a"), (lambda: inbox.close(LOST), LOST)):
        waiting = asyncio.create_task(inbox.get())
        await asyncio.sleep(0)
        assert not waiting.done()
        arrive()
        assert await waiting == expected


async def test_the_first_end_counts_and_nothing_comes_after_it() -> None:
    inbox = Inbox()
    inbox.close(End(grpc.StatusCode.OK))
    inbox.close(LOST)
    assert inbox.put(b"late")
    assert await inbox.get() == End(grpc.StatusCode.OK)


def test_an_inbox_is_bounded() -> None:
    inbox = Inbox()
    assert all(inbox.put(b"") for _ in range(INBOX_MESSAGES))
    assert not inbox.put(b"")


async def test_what_is_put_while_a_bundle_leaves_shares_the_next_one() -> None:
    outbox, peer = Outbox(), Peer()
    sending = asyncio.create_task(outbox.send(peer.write))
    outbox.put(item(1))
    await asyncio.sleep(0.01)
    for stream in (2, 3, 4):
        outbox.put(item(stream))
    peer.permits.release()
    peer.permits.release()
    await outbox.all_sent()
    assert [[one.stream for one in bundle.items] for bundle in peer.bundles] == [[1], [2, 3, 4]]
    sending.cancel()


async def test_a_full_outbox_makes_writers_wait() -> None:
    outbox, peer = Outbox(items_max=3), Peer()
    for stream in range(3):
        await outbox.until_writable()
        outbox.put(item(stream))
    waiting = asyncio.create_task(outbox.until_writable())
    await asyncio.sleep(0)
    assert not waiting.done()
    sending = asyncio.create_task(outbox.send(peer.write))
    peer.permits.release()
    await waiting
    sending.cancel()


async def test_a_peer_that_takes_nothing_while_the_outbox_is_full_has_stalled() -> None:
    outbox, peer = Outbox(items_max=2, stalled_s=0.05), Peer()
    stalled = asyncio.create_task(outbox.until_stalled())
    outbox.put(item(1))
    sending = asyncio.create_task(outbox.send(peer.write))
    await asyncio.sleep(0.2)
    assert not stalled.done(), "something waits, but not too much"
    for stream in range(2):
        outbox.put(item(stream))
    assert outbox.is_full
    await stalled
    sending.cancel()


async def test_a_peer_that_takes_something_in_time_has_not_stalled() -> None:
    outbox, peer = Outbox(items_max=2, stalled_s=60.0), Peer()
    stalled = asyncio.create_task(outbox.until_stalled())
    sending = asyncio.create_task(outbox.send(peer.write))
    for _ in range(3):
        for stream in range(2):
            outbox.put(item(stream))
        await asyncio.sleep(0)
        peer.permits.release()
        await outbox.all_sent()
        assert not outbox.is_full and not stalled.done()
    for task in (sending, stalled):
        task.cancel()


async def test_a_closed_outbox_lets_writers_go_and_keeps_nothing() -> None:
    outbox = Outbox(items_max=1)
    outbox.put(item(1))
    waiting = asyncio.create_task(outbox.until_writable())
    await asyncio.sleep(0)
    outbox.close()
    await waiting
    outbox.put(item(2))
    assert len(outbox) == 0 and not outbox.is_full


@given(sizes=st.lists(st.integers(0, 3 * buffers._BUNDLE_BYTES), max_size=8))
def test_bundles_keep_the_order_and_stay_below_what_the_peer_accepts(sizes: list[int]) -> None:
    async def scenario() -> None:
        outbox, peer = Outbox(), Peer()
        for stream, size in enumerate(sizes):
            outbox.put(item(stream, bytes(size)))
        sending = asyncio.create_task(outbox.send(peer.write))
        for _ in sizes:
            peer.permits.release()
        await outbox.all_sent()
        sending.cancel()
        assert peer.streams == list(range(len(sizes)))
        limit = max_bundle_bytes(max([64, *sizes]))
        assert all(bundle.ByteSize() <= limit for bundle in peer.bundles)

    asyncio.run(scenario())


def test_codes_are_gprcs_own() -> None:
    assert CODES[8] is grpc.StatusCode.RESOURCE_EXHAUSTED and len(CODES) == 17

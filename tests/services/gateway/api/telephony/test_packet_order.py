"""Packets come out in order, each once, with silence for what is lost; the counts are exact."""

from __future__ import annotations

import hypothesis
from hypothesis import strategies as st

from moshi_cluster.services.gateway.api.telephony.packet_order import MOST_HELD, Packet, PacketOrder

SILENCE = b"\xff"
PACKET_MS, PACKET_BYTES = 20, 160


def packet(number: int, time_ms: int | None = None) -> Packet:
    return Packet(bytes([number % 251]) * PACKET_BYTES, number, time_ms)


def heard(order: PacketOrder, *packets: Packet) -> list[int | None]:
    """Numbers of what comes out, None for silence."""
    pieces = [piece for each in packets for piece in order.push(each)] + order.release()
    assert all(len(piece) == PACKET_BYTES for piece in pieces)
    return [None if piece[:1] == SILENCE else piece[0] for piece in pieces]


def new() -> PacketOrder:
    return PacketOrder(SILENCE, PACKET_BYTES / PACKET_MS, longest_fill_ms=100)


def test_what_comes_in_order_passes_at_once() -> None:
    order = new()
    assert [order.push(packet(number)) for number in (7, 8)] == [[packet(7).data], [packet(8).data]]
    assert not order.is_holding


def test_one_that_comes_late_is_waited_for() -> None:
    order = new()
    assert heard(order, *map(packet, (1, 3, 4, 2, 5))) == [1, 2, 3, 4, 5]
    assert (order.counts.reordered, order.counts.lost, order.counts.repeated) == (1, 0, 0)


def test_one_that_does_not_come_is_silence_and_given_up_when_enough_wait() -> None:
    order = new()
    assert heard(order, packet(1)) == [1]
    assert [len(order.push(packet(number))) for number in range(3, 4 + MOST_HELD)] == [0] * MOST_HELD + [MOST_HELD + 2]
    assert order.push(packet(2)) == []
    counts = order.counts
    assert (counts.lost, counts.filled, counts.late, counts.repeated) == (1, 1, 1, 0)


def test_a_second_gap_is_waited_for_when_the_first_is_given_up() -> None:
    order = new()
    for number in (1, 3, 5):
        order.push(packet(number))
    assert [piece[0] for piece in order.push(packet(6))] == [SILENCE[0], 3]
    assert heard(order, packet(4)) == [4, 5, 6]


def test_one_that_comes_twice_is_heard_once() -> None:
    order = new()
    assert heard(order, *map(packet, (1, 1, 2, 4, 4, 3, 2))) == [1, 2, 3, 4]
    assert order.counts.repeated == 3


def test_what_was_lost_before_it_was_numbered_is_told_by_the_time() -> None:
    order = new()
    assert heard(order, packet(1, 0), packet(2, 20), packet(3, 80)) == [1, 2, None, None, 3]
    assert (order.counts.lost, order.counts.filled) == (2, 2)


def test_a_long_gap_is_counted_and_left_to_the_call() -> None:
    order = new()
    assert heard(order, packet(1, 0), packet(2, 1000)) == [1, 2]
    assert (order.counts.lost, order.counts.filled) == (49, 0)
    order = PacketOrder(b"", PACKET_BYTES / PACKET_MS, longest_fill_ms=100)
    assert heard(order, packet(1), packet(3)) == [1, 3]


def test_a_stream_that_is_numbered_anew_goes_on() -> None:
    order = new()
    assert heard(order, packet(100_000), packet(1), packet(2)) == [100_000 % 251, 1, 2]
    assert order.counts.lost == 0


@hypothesis.given(
    lost=st.sets(st.integers(2, 60), max_size=20),
    swaps=st.lists(st.integers(0, 50), max_size=15),
    twice=st.sets(st.integers(0, 30), max_size=8),
)
def test_whatever_a_network_does_the_counts_add_up(lost: set[int], swaps: list[int], twice: set[int]) -> None:
    sent = [number for number in range(1, 62) if number not in lost]
    for place in swaps:  # neighbours: never farther than what is waited for
        place %= len(sent) - 1
        sent[place], sent[place + 1] = sent[place + 1], sent[place]
    for place in sorted(twice, reverse=True):
        sent[place:place] = [sent[place]]
    order = new()
    out = heard(order, *map(packet, sent))
    numbers, counts = [number for number in out if number is not None], order.counts
    assert numbers == sorted(set(numbers))
    assert counts.received == len(sent)
    assert counts.received == len(numbers) + counts.repeated + counts.late
    assert counts.lost == 61 - min(numbers) + 1 - len(numbers)
    assert out.count(None) == counts.filled <= counts.lost

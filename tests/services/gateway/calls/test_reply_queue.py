"""The reply queue in simulated time: order, bounds, pacing, what is dropped."""

import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moshi_cluster.services.common.errors import LimitReached
from moshi_cluster.services.gateway.audio.framing import ReplyPacket
from moshi_cluster.services.gateway.calls.reply_queue import ReplyQueue

RATE_HZ = 8_000


def packets(count: int, packet_ms: int = 20, first: int = 0) -> list[ReplyPacket]:
    """Consecutive packets of a reply, from packet `first` on; the data is the packet's number."""
    samples = RATE_HZ * packet_ms // 1000
    return [
        ReplyPacket(
            data=str(number).encode(),
            first_sample=number * samples,
            samples=samples,
            frames_ended=(number + 1) * packet_ms // 80 - number * packet_ms // 80,
        )
        for number in range(first, first + count)
    ]


def queue(limit_ms: int = 1_000, events_max: int = 100, paced: bool = False) -> ReplyQueue[str]:
    return ReplyQueue(RATE_HZ, limit_ms, events_max, paced)


def push(replies: ReplyQueue[str], audio: list[ReplyPacket], now_s: float = 0.0) -> int:
    return sum(replies.push_audio(packet, now_s) for packet in audio)


def pop_all(replies: ReplyQueue[str], now_s: float = 0.0) -> list[str]:
    """Everything that leaves now: packets by number, events as they are."""
    left = []
    while (item := replies.pop(now_s)) is not None:
        left.append(item.data.decode() if isinstance(item, ReplyPacket) else item)
    return left


def waiting_ms(replies: ReplyQueue[str]) -> float:
    """Audio that waits, as a caller would hear it who began to read at last."""
    replies, now_s, samples = copy.deepcopy(replies), 0.0, 0
    while (due_s := replies.next_due_s(now_s)) is not None:
        now_s = due_s
        item = replies.pop(now_s)
        samples += item.samples if isinstance(item, ReplyPacket) else 0
    return 1000 * samples / RATE_HZ


def test_bursts_leave_at_once_in_the_order_pushed():
    replies = queue()
    push(replies, packets(2))
    replies.push_event("hello")
    push(replies, packets(1, first=2))
    replies.push_event("there")
    assert replies.next_due_s(5.0) == 5.0
    assert pop_all(replies) == ["0", "1", "hello", "2", "there"]
    assert replies.next_due_s(5.0) is None


def test_a_slow_reader_loses_the_oldest_audio_and_is_told_how_much():
    replies = queue(limit_ms=200)
    assert push(replies, packets(10)) == 0
    assert push(replies, packets(8, first=10)) == 2
    assert waiting_ms(replies) == 200
    assert pop_all(replies) == [str(number) for number in range(8, 18)]


def test_text_and_events_survive_the_audio_dropped_around_them_in_order():
    replies = queue(limit_ms=100)
    for number, packet in enumerate(packets(20)):
        replies.push_audio(packet, 0.0)
        replies.push_event(f"n{number}")
    dropped_part, kept_part = [f"n{number}" for number in range(15)], []
    for number in range(15, 20):
        kept_part += [str(number), f"n{number}"]
    assert pop_all(replies) == dropped_part + kept_part


def test_a_caller_who_reads_nothing_at_all_cannot_go_on():
    replies = queue(events_max=3)
    for _ in range(3):
        replies.push_event("n")
    with pytest.raises(LimitReached, match="too many texts and events wait unread"):
        replies.push_event("n")


def test_clear_drops_the_audio_and_lets_the_marks_behind_it_through():
    replies = queue()
    push(replies, packets(8))
    replies.push_event("mark one")
    push(replies, packets(4, first=8))
    replies.push_event("mark two")
    assert replies.clear() == 3
    assert pop_all(replies) == ["mark one", "mark two"]
    push(replies, packets(1, first=12))
    assert pop_all(replies) == ["12"]


def test_a_mark_waits_for_the_audio_before_it():
    replies = queue(paced=True)
    push(replies, packets(3))
    replies.push_event("mark")
    assert pop_all(replies, 0.0) == ["0"]
    assert pop_all(replies, 0.03) == ["1"]
    assert pop_all(replies, 0.04) == ["2", "mark"]


def test_while_paused_audio_is_dropped_and_counted_and_text_passes():
    replies = queue()
    push(replies, packets(8))
    assert replies.pause() == 2
    assert push(replies, packets(4, first=8)) == 1
    replies.push_event("text")
    assert pop_all(replies) == ["text"]
    replies.resume()
    push(replies, packets(4, first=12))
    assert pop_all(replies) == ["12", "13", "14", "15"]


@pytest.mark.parametrize("packet_ms", [10, 20, 80, 100])
def test_paced_packets_leave_on_an_absolute_schedule(packet_ms):
    replies = queue(paced=True, limit_ms=60_000)
    audio = packets(50, packet_ms)
    due_s = []
    now_s = 100.0
    for packet in audio[:2]:
        replies.push_audio(packet, now_s)
    for packet in audio[2:]:
        due_s.append(replies.next_due_s(now_s))
        now_s = due_s[-1] + 0.004
        assert replies.pop(now_s) is not None
        replies.push_audio(packet, now_s)
    assert due_s == pytest.approx([100.0 + index * packet_ms / 1000 for index in range(len(due_s))])


def test_a_sender_that_woke_late_catches_up():
    replies = queue(paced=True)
    push(replies, packets(4))
    assert pop_all(replies, 0.0) == ["0"]
    assert pop_all(replies, 0.05) == ["1", "2"]
    assert replies.next_due_s(0.05) == pytest.approx(0.06)


def test_a_packet_that_comes_early_waits_for_its_time():
    replies = queue(paced=True)
    push(replies, packets(1), 0.0)
    assert pop_all(replies, 0.0) == ["0"]
    push(replies, packets(1, first=1), 0.005)
    assert replies.next_due_s(0.005) == pytest.approx(0.02)


def test_less_than_a_packet_too_much_is_left_alone():
    replies = queue(paced=True)
    audio = packets(60, packet_ms=100)
    push(replies, audio[:2], 0.0)
    for index, packet in enumerate(audio[2:]):
        assert replies.pop(index * 0.1 + 0.001) is not None
        assert replies.push_audio(packet, index * 0.1 + 0.09) == 0


def test_after_running_dry_the_schedule_starts_again_rather_than_rushing():
    replies = queue(paced=True)
    push(replies, packets(4), 0.0)
    assert pop_all(replies, 0.08) == ["0", "1", "2", "3"]
    push(replies, packets(4, first=4), 1.0)
    assert pop_all(replies, 1.0) == ["4"]
    assert replies.next_due_s(1.0) == pytest.approx(1.02)


def paced_call(answers_s: list[float], limit_ms: int = 2_000) -> tuple[list[tuple[float, float]], int]:
    """A paced call whose frames are answered at these times: (answered, left) of every packet that left, frames lost.

    A packet that leaves so long after its answer had that much audio before it or in it.
    """
    replies = queue(paced=True, limit_ms=limit_ms)
    left, dropped = [], 0
    for index, now_s in enumerate([*answers_s, float("inf")]):
        while (due_s := replies.next_due_s(0.0)) is not None and due_s <= now_s:
            left.append((answers_s[int(replies.pop(due_s).data) // 4], due_s))
        if index < len(answers_s):
            dropped += push(replies, packets(4, first=4 * index), now_s)
    return left, dropped


def longest_wait_ms(left: list[tuple[float, float]], from_s: float = 0.0) -> float:
    return max(1000 * (left_s - answered_s) for answered_s, left_s in left if answered_s > from_s)


def test_an_hour_of_paced_replies_in_time_drops_nothing_and_grows_nothing():
    answers_s = [(index + 1) * 0.08 + 0.02 * (index * 7 % 5) / 4 for index in range(45_000)]
    left, dropped = paced_call(answers_s)
    assert dropped == 0
    assert len(left) == 4 * 45_000
    assert longest_wait_ms(left) <= 120


@pytest.mark.parametrize("stall_s", [0.2, 0.4, 0.5, 1.0])
def test_paced_replies_are_back_to_normal_within_a_second_after_a_stall(stall_s):
    steady_s = [(index + 1) * 0.08 for index in range(200)]
    answers_s = [5.0 + stall_s if 5.0 <= now_s < 5.0 + stall_s else now_s for now_s in steady_s]
    normal_s = 6.0 + stall_s
    left, dropped = paced_call(answers_s)
    assert longest_wait_ms(left, from_s=normal_s) <= 180
    assert sum(answered_s > normal_s for answered_s, _ in left) == 4 * sum(now_s > normal_s for now_s in answers_s)
    assert dropped <= stall_s / 0.08


@settings(max_examples=150, deadline=None)
@given(
    operations=st.lists(
        st.sampled_from(["frame", "frame", "frame", "event", "pop", "pop", "clear", "pause", "resume", "wait"]),
        max_size=80,
    ),
    paced=st.booleans(),
    packet_ms=st.sampled_from([10, 20, 80, 100]),
)
def test_whatever_happens_order_holds_and_every_frame_is_counted_once(operations, paced, packet_ms):
    replies = queue(limit_ms=300, events_max=1_000, paced=paced)
    pushed, left, pushed_events, now_s, dropped, frames = 0, [], 0, 0.0, 0, 0
    for operation in operations:
        if operation == "frame":
            audio = packets(max(1, 80 // packet_ms), packet_ms, first=pushed)
            pushed += len(audio)
            frames += sum(packet.frames_ended for packet in audio)
            dropped += push(replies, audio, now_s)
        elif operation == "event":
            replies.push_event(f"{pushed} {pushed_events}")
            pushed_events += 1
        elif operation == "pop":
            left.append(replies.pop(now_s))
        elif operation == "wait":
            now_s += 0.1
        else:
            dropped += getattr(replies, operation)() or 0
        assert waiting_ms(replies) <= 300
    replies.resume()
    while (due_s := replies.next_due_s(now_s)) is not None:
        now_s = due_s
        left.append(replies.pop(now_s))
    left = [item for item in left if item is not None]
    assert sum(item.frames_ended for item in left if isinstance(item, ReplyPacket)) + dropped == frames
    events = [item for item in left if isinstance(item, str)]
    assert [int(event.split()[1]) for event in events] == list(range(pushed_events))
    # An event leaves after the packets pushed before it and before those pushed after it.
    places = [int(item.data) + 0.5 if isinstance(item, ReplyPacket) else int(item.split()[0]) for item in left]
    assert places == sorted(places)


def test_a_limit_shorter_than_a_packet_is_refused():
    with pytest.raises(ValueError, match="limit_ms"):
        queue(limit_ms=50)

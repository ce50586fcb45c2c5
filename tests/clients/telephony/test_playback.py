"""The playback buffer in simulated time."""

from __future__ import annotations

import random
from array import array

from hypothesis import given
from hypothesis import strategies as st

from moshi_cluster.audio.frame import FRAME_SAMPLES, MODEL_RATE_HZ
from moshi_cluster.clients.telephony.playback import PlaybackBuffer, silence
from moshi_cluster.clients.telephony.wire_formats import S16Samples

BLOCK = 480  # 20 ms
HIGHEST_LIMIT = 240 * MODEL_RATE_HZ // 1000


def tone(count: int, value: int = 1000) -> S16Samples:
    return array("h", [value] * count)


def ms(samples: int) -> float:
    return 1000 * samples / MODEL_RATE_HZ


steps = st.lists(
    st.one_of(
        st.tuples(st.just("push"), st.integers(0, 12_000)), st.tuples(st.just("pull"), st.integers(0, 3 * BLOCK))
    ),
    max_size=60,
)


@given(steps)
def test_no_sample_is_lost_uncounted_and_never_too_many_wait(steps: list[tuple[str, int]]) -> None:
    buffer, pushed, pulled = PlaybackBuffer(), 0, 0
    for what, count in steps:
        if what == "push":
            buffer.push(tone(count))
            pushed += count
        else:
            assert len(buffer.pull(count)) == count
            pulled += count
        assert pushed == buffer.played + buffer.dropped + buffer.queued
        assert buffer.queued < buffer.limit <= HIGHEST_LIMIT
        assert buffer.played + buffer.missed <= pulled


def test_playing_starts_once_80_ms_wait_and_fades_in() -> None:
    buffer = PlaybackBuffer()
    buffer.push(tone(1919))
    assert buffer.pull(BLOCK) == silence(BLOCK)
    buffer.push(tone(1))
    assert buffer.pull(BLOCK) == silence(BLOCK)  # 10 ms more
    first, second = buffer.pull(BLOCK), buffer.pull(BLOCK)
    assert first[0] < 10 < 990 < first[-1]
    assert list(first) == sorted(first)
    assert second == tone(BLOCK)


def test_what_comes_in_order_is_played_in_order() -> None:
    buffer, numbers = PlaybackBuffer(), array("h", range(1, 2001))
    buffer.push(numbers)
    buffer.pull(BLOCK)
    buffer.pull(BLOCK)  # fades in
    assert buffer.pull(BLOCK) == numbers[BLOCK : 2 * BLOCK]


def test_the_oldest_are_dropped_when_too_many_wait() -> None:
    buffer = PlaybackBuffer()
    buffer.push(array("h", range(5000)))
    assert (buffer.queued, buffer.dropped, buffer.drops) == (90 * 24, 5000 - 90 * 24, 1)
    buffer.pull(BLOCK)
    buffer.pull(BLOCK)
    assert buffer.pull(1)[0] == 5000 - 90 * 24 + BLOCK


def test_an_underrun_fades_out_and_makes_the_next_start_wait_longer() -> None:
    buffer = PlaybackBuffer()
    buffer.push(tone(1920))
    buffer.pull(BLOCK)
    for _ in range(4):
        buffer.pull(BLOCK)
    buffer.pull(BLOCK)
    assert (buffer.underruns, buffer.queued) == (1, 0)
    assert buffer.limit == (80 + 15 + 10) * 24
    buffer.push(tone(600))
    assert buffer.pull(BLOCK) == silence(BLOCK)


def test_after_a_stall_it_catches_up_and_stays_caught_up() -> None:
    buffer = PlaybackBuffer()
    _run(buffer, [0.0] * 50)
    _run(buffer, [1.0] + [0.0] * 50)  # a second late, then all at once
    assert ms(buffer.queued) < 240
    assert buffer.dropped > 0.5 * MODEL_RATE_HZ
    dropped = buffer.dropped
    _run(buffer, [0.0] * 200)
    assert ms(buffer.dropped - dropped) <= 80


def test_jitter_within_the_limits_ends_drops_and_underruns() -> None:
    buffer, chance = PlaybackBuffer(), random.Random(1)
    jitter_s = [chance.uniform(0, 0.04) for _ in range(2000)]
    _run(buffer, jitter_s[:1000])
    learnt = buffer.underruns + buffer.drops
    _run(buffer, jitter_s[1000:])
    assert buffer.underruns + buffer.drops - learnt <= 2


def _run(buffer: PlaybackBuffer, delays_s: list[float]) -> None:
    """Frames leave every 80 ms and arrive in order, each late by its delay; 20 ms are played every 20 ms."""
    arrivals_s: list[float] = []
    for index, delay_s in enumerate(delays_s):
        arrivals_s.append(max([index * 0.08 + delay_s, *arrivals_s[-1:]]))
    for block in range(4 * len(delays_s)):
        while arrivals_s and arrivals_s[0] <= block * 0.02:
            arrivals_s.pop(0)
            buffer.push(tone(FRAME_SAMPLES))
        buffer.pull(BLOCK)
    for _ in arrivals_s:
        buffer.push(tone(FRAME_SAMPLES))


def test_who_barges_in_hears_nothing_of_what_waited() -> None:
    buffer = PlaybackBuffer()
    buffer.push(tone(90 * MODEL_RATE_HZ // 1000))
    buffer.clear()
    assert (buffer.queued, buffer.dropped) == (0, 90 * MODEL_RATE_HZ // 1000)
    assert buffer.pull(BLOCK) == silence(BLOCK)
    buffer.push(tone(90 * MODEL_RATE_HZ // 1000))
    assert buffer.queued == 90 * MODEL_RATE_HZ // 1000


def test_at_a_telephones_rate_it_waits_as_long() -> None:
    buffer = PlaybackBuffer(8000)
    assert buffer.limit == 8000 * 100 // 1000

"""Callers who send faster than people speak: nothing is lost, and the models hear it little faster than spoken."""

from __future__ import annotations

import asyncio
from collections import deque

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from moshi_cluster.audio.frame import FRAME_S, FRAME_SAMPLES
from moshi_cluster.services.gateway.admission.rate_limits import audio_pace
from moshi_cluster.services.gateway.audio.formats import AudioFormat, Encoding
from moshi_cluster.services.gateway.audio.transcode import AudioEncoder
from moshi_cluster.services.gateway.calls.clock import CallerClock
from moshi_cluster.services.gateway.calls.counters import CallCounters
from moshi_cluster.services.gateway.calls.events import PendingEvents
from moshi_cluster.services.gateway.calls.ingress import Ingress
from moshi_cluster.services.gateway.metrics import GatewayMetrics
from moshi_cluster.v1 import gateway_pb2
from tests.services.gateway.caller import F32_24K, Caller, Kind
from tests.services.gateway.cluster import EchoCodec, EchoLm, cluster

LIMIT, INFLIGHT = 8, 4
TICK_S = 0.001
"""Of the simulation, which looks at all that may happen after each."""


class SimulatedCall:
    """A call from its ingress to a model of one step at a time, in simulated time; its transport holds as told."""

    def __init__(self, setup_s: float = 0.1, step_s: float = 0.02, late_s: float = 0.0) -> None:
        """late_s: from `started` to the caller's first packet."""
        self.counters = CallCounters(GatewayMetrics(CollectorRegistry()))
        clock = CallerClock(setup_s, 0.1, LIMIT, 1.35, 0.0)
        self.ingress = Ingress(AudioFormat(Encoding.PCM_F32LE, 24_000), clock, self.counters, PendingEvents(0.0))
        self.heard: list[np.ndarray] = []
        self._pace = audio_pace(LIMIT * FRAME_S, 0.0)
        self._step_s = step_s
        self._now_s = setup_s + late_s
        self._fill_until(self._now_s)

    def run(self, packets: list[bytes], waits_s: list[float] | None = None) -> float:
        """All packets, each sent after its wait; how long it took until the last one was read."""
        start_s, read_on_s, free_s = self._now_s, 0.0, 0.0
        sent_s = start_s + np.cumsum(waits_s or [0.0] * len(packets))
        coming = deque(zip(sent_s, packets, strict=True))
        while coming:
            while free_s <= self._now_s and len(self.ingress):
                self.heard.append(self.ingress.take().pcm)
                free_s = max(free_s, self._now_s - TICK_S) + self._step_s
            is_held = self._now_s < read_on_s or self.ingress.hold_s(self._now_s) > 0
            if coming[0][0] <= self._now_s and not is_held:
                _, packet = coming.popleft()
                self.ingress.feed(packet, self._now_s)
                read_on_s = self._now_s + self._pace.delay_s(self._now_s, self.ingress.duration_s(packet))
            else:
                self._now_s += TICK_S
                self._fill_until(self._now_s)
        while len(self.ingress):
            self.heard.append(self.ingress.take().pcm)
        return self._now_s - start_s

    def _fill_until(self, now_s: float) -> None:
        while self.ingress.next_deadline_s <= now_s:
            self.ingress.fill(self.ingress.next_deadline_s)

    @property
    def lost(self) -> tuple[int, int]:
        return self.counters.frames_filled, self.counters.frames_dropped


def recording(seconds: float, packet_ms: int) -> list[bytes]:
    """A file in packets; its samples count up, so that each is known."""
    samples = np.arange(1, round(24_000 * seconds) + 1, dtype="<f4") / 2**21
    size = 24 * packet_ms
    return [samples[at : at + size].tobytes() for at in range(0, samples.size, size)]


PACKETS_MS = [5, 13, 20, 60, 100, 333, 640, 700, 999, 1000]


@pytest.mark.parametrize("packet_ms", PACKETS_MS)
@pytest.mark.parametrize("late_s", [0.0, 0.3, 1.2])
@pytest.mark.parametrize("step_s", [0.01, 0.05])
def test_a_file_sent_at_once_is_heard_whole_and_takes_most_of_its_length(
    packet_ms: int, late_s: float, step_s: float
) -> None:
    call = SimulatedCall(late_s=late_s, step_s=step_s)
    packets = recording(20.0, packet_ms)
    took_s = call.run(packets)
    assert call.lost == (0, 0)
    heard = np.concatenate(call.heard)
    assert np.array_equal(heard, np.frombuffer(b"".join(packets), "<f4")[: heard.size])
    assert heard.size == 20 * 24_000
    assert 0.6 * 20 < took_s < 0.8 * 20


@pytest.mark.parametrize("packet_ms", PACKETS_MS)
@pytest.mark.parametrize("step_s", [0.078, 0.12])
def test_a_file_is_heard_whole_by_workers_slower_than_it_is_read(packet_ms: int, step_s: float) -> None:
    """As fast as people speak, but not a quarter faster; or slower than that."""
    call = SimulatedCall(step_s=step_s)
    took_s = call.run(recording(20.0, packet_ms))
    assert call.lost == (0, 0)
    assert took_s > 225 * step_s


def test_who_sent_a_file_and_then_speaks_is_heard_like_anybody_else() -> None:
    """Silence is filled in while they say nothing, and what then waits for a model that stalls is dropped."""
    call = SimulatedCall()
    call.run(recording(4.0, 20))
    live = recording(6.0, 20)
    call.run(live[:100], [3.0] + [0.02] * 99)
    assert call.counters.frames_filled > 20
    assert call.counters.frames_dropped == 0
    call._step_s = 1e9
    took_s = call.run(live[100:], [0.02] * 200)
    assert took_s == pytest.approx(4.0, abs=0.01)
    assert call.counters.frames_dropped > 30


@pytest.mark.parametrize("packet_ms", PACKETS_MS)
def test_who_speaks_in_real_time_is_never_held_or_dropped(packet_ms: int) -> None:
    call = SimulatedCall()
    packets = recording(20.0, packet_ms)
    took_s = call.run(packets, [packet_ms / 1000] * len(packets))
    assert call.lost == (0, 0)
    assert took_s == pytest.approx(len(packets) * packet_ms / 1000, abs=0.01)


def test_a_caller_in_real_time_with_a_model_that_stalls_is_not_held() -> None:
    """Their oldest frames are dropped, so that the conversation is in real time again at once."""
    call = SimulatedCall()
    packets = recording(5.0, 20)
    call.run(packets[:100], [0.02] * 100)
    call._step_s = 1e9
    took_s = call.run(packets[100:], [0.02] * 150)
    assert took_s == pytest.approx(3.0, abs=0.01)
    assert call.counters.frames_dropped > 20


def test_what_waited_for_the_call_to_be_up_is_no_file() -> None:
    """Three seconds of live sound from before `started`: the oldest goes, or every answer would be that late."""
    call = SimulatedCall(setup_s=3.0)
    packets = recording(6.0, 20)
    call.run(packets, [0.0] * 150 + [0.02] * 150)
    assert call.counters.frames_dropped > 3
    assert call.counters.frames_filled == 0


def test_what_a_network_held_back_is_no_file() -> None:
    call = SimulatedCall()
    packets = recording(10.0, 20)
    waits_s = [0.02] * 200 + [2.0] + [0.0] * 99 + [0.02] * 200
    took_s = call.run(packets, waits_s)
    assert took_s == pytest.approx(10.0, abs=0.1)
    assert call.counters.frames_filled == pytest.approx(24, abs=2)
    assert call.counters.frames_dropped == pytest.approx(24, abs=3)


def packets_of(source: AudioFormat, seconds: float, packet_ms: int) -> list[bytes]:
    """Something to hear in a format that is not Opus."""
    voice = np.sin(np.arange(round(24_000 * seconds)) * 0.05).astype(np.float32) * 0.4
    encoder = AudioEncoder(source, 20)
    data = encoder.encode(encoder.resample(voice))
    size = source.bytes_per_s * packet_ms // 1000
    return [data[at : at + size] for at in range(0, len(data), size)]


def opus_packets(seconds: float, packet_ms: int) -> list[bytes]:
    encoder = AudioEncoder(AudioFormat(Encoding.OPUS, 48_000), packet_ms)
    voice = np.sin(np.arange(round(24_000 * seconds)) * 0.05).astype(np.float32) * 0.4
    samples = encoder.resample(voice)
    size = 48 * packet_ms
    return [encoder.encode(samples[at : at + size]) for at in range(0, samples.size, size)]


FORMATS = [
    *(
        AudioFormat(encoding, rate)
        for encoding in (Encoding.PCM_S16LE, Encoding.PCM_F32LE)
        for rate in (8_000, 16_000, 24_000, 48_000)
    ),
    AudioFormat(Encoding.MULAW, 8_000),
    AudioFormat(Encoding.ALAW, 8_000),
]
OPUS_MS = [10, 20, 40, 60, 80, 100]


def heard_of(source: AudioFormat, packets: list[bytes], packet_ms: int) -> tuple[CallCounters, list[np.ndarray]]:
    """What a model is given of packets in real time, each sent once it is full."""
    counters = CallCounters(GatewayMetrics(CollectorRegistry()))
    ingress = Ingress(source, CallerClock(0.05, 0.1, LIMIT, 1.35, 0.0), counters, PendingEvents(0.0))
    frames, free_s = [], 0.0
    for number, packet in enumerate(packets, 1):
        now_s = 0.05 + number * packet_ms / 1000
        while ingress.next_deadline_s <= now_s:
            ingress.fill(ingress.next_deadline_s)
        while len(ingress) and free_s <= now_s:
            frames.append(ingress.take().pcm)
            free_s += 0.05
        free_s = max(free_s, now_s)
        ingress.feed(packet, now_s)
    while len(ingress):
        frames.append(ingress.take().pcm)
    return counters, frames


@pytest.mark.parametrize("source", FORMATS, ids=lambda source: f"{source.encoding.name} {source.rate_hz}")
@pytest.mark.parametrize("packet_ms", PACKETS_MS)
def test_the_model_hears_the_same_frames_whatever_the_packets(source: AudioFormat, packet_ms: int) -> None:
    """In every format; so it says the same for the same seed."""
    _, expected = heard_of(source, packets_of(source, 8.0, 20), 20)
    counters, frames = heard_of(source, packets_of(source, 8.0, packet_ms), packet_ms)
    assert (counters.frames_filled, counters.frames_dropped, counters.frames_in) == (0, 0, 100)
    assert all(np.array_equal(frame, other) for frame, other in zip(frames, expected, strict=True))


@pytest.mark.parametrize("packet_ms", OPUS_MS)
def test_opus_in_packets_of_every_length_is_heard_whole(packet_ms: int) -> None:
    counters, frames = heard_of(AudioFormat(Encoding.OPUS, 48_000), opus_packets(8.0, packet_ms), packet_ms)
    assert (counters.frames_filled, counters.frames_dropped, len(frames)) == (0, 0, 100)


# --- over real gRPC

FRAMES = 36  # of 2.88 s: what is read at once is less


def levels(packets: int) -> list[int]:
    return [1 + index % 50 for index in range(packets)]


def request(frames: list[int]) -> gateway_pb2.ConverseRequest:
    data = np.repeat(np.array(frames, "<f4") / 60, FRAME_SAMPLES).tobytes()
    return gateway_pb2.ConverseRequest(audio=gateway_pb2.Audio(data=data))


@pytest.mark.parametrize("frames_each", [1, 12])
@pytest.mark.parametrize("waits", [False, True], ids=["at once", "after started"])
async def test_a_file_at_full_speed_is_answered_whole(frames_each: int, waits: bool) -> None:
    """With the settings of every gateway, and a caller who reads only when all is sent."""
    said = levels(FRAMES)
    async with cluster(backlog_frames=LIMIT, jitter_allowance_ms=2000, max_messages_per_s=500.0) as all_of_it:
        caller = Caller(all_of_it.stub)
        await (caller.start() if waits else caller.send_start())
        for at in range(0, FRAMES, frames_each):
            await caller.call.write(request(said[at : at + frames_each]))
        heard = await caller.hang_up()
        assert heard.levels == said
        assert (heard.counters.frames_filled, heard.counters.frames_dropped) == (0, 0)
        assert not heard.events(Kind.KIND_DROPPED)


async def test_a_file_waits_for_a_model_that_stands_still() -> None:
    codec = EchoCodec()
    async with cluster([codec], backlog_frames=LIMIT, jitter_allowance_ms=2000) as all_of_it:
        caller = Caller(all_of_it.stub)
        await caller.start(input_format=F32_24K)
        codec.encoder.hold()
        said = levels(FRAMES)
        for level in said:
            await caller.call.write(request([level]))
        await codec.encoder.step_entered()
        codec.encoder.let_all()
        heard = await caller.hang_up()
        assert heard.levels == said


async def test_packets_of_every_length_in_real_time_are_all_answered() -> None:
    """Ten calls at once, with the backlog of every gateway; the allowance is longer, for a busy machine."""
    said = levels(FRAMES)
    sound = np.repeat(np.array(said, "<f4") / 60, FRAME_SAMPLES)

    async def call(packet_ms: int) -> None:
        caller = Caller(all_of_it.stub)
        await caller.start()
        clock = asyncio.get_running_loop().time
        due_s, size = clock(), 24 * packet_ms
        for at in range(0, sound.size, size):
            due_s += packet_ms / 1000
            await asyncio.sleep(due_s - clock())
            await caller.say(sound[at : at + size].tobytes())
        heard = await caller.hang_up()
        assert (heard.counters.frames_filled, heard.counters.frames_dropped) == (0, 0)
        assert heard.levels == said

    patience = {"backlog_frames": LIMIT, "jitter_allowance_ms": 2000, "max_messages_per_s": 500.0}
    async with cluster([EchoCodec(16)], [EchoLm(16)], **patience) as all_of_it:
        await asyncio.gather(*map(call, PACKETS_MS))

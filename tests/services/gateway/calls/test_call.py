"""What callers get for what they send: order, counts, formats."""

from __future__ import annotations

import time

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from moshi_cluster.services.gateway.audio.formats import AudioFormat, Encoding
from moshi_cluster.services.gateway.audio.framing import FRAME_SAMPLES, FrameAssembler, ReplyCutter
from moshi_cluster.services.gateway.audio.transcode import AudioDecoder, AudioEncoder
from moshi_cluster.services.gateway.calls import call
from moshi_cluster.v1 import gateway_pb2
from tests.services.gateway.caller import F32_24K, SAID, Caller, Kind, balanced, frame
from tests.services.gateway.cluster import EchoCodec, EchoLm, cluster
from tests.services.in_process import eventually

pytestmark = pytest.mark.usefixtures("nothing_swallowed")

FORMATS = [
    AudioFormat(Encoding.PCM_S16LE, 24_000),
    AudioFormat(Encoding.PCM_F32LE, 24_000),
    AudioFormat(Encoding.PCM_S16LE, 8_000),
    AudioFormat(Encoding.PCM_F32LE, 8_000),
    AudioFormat(Encoding.PCM_S16LE, 16_000),
    AudioFormat(Encoding.PCM_F32LE, 48_000),
    AudioFormat(Encoding.MULAW, 8_000),
    AudioFormat(Encoding.ALAW, 8_000),
    AudioFormat(Encoding.PCM_S16BE, 16_000),
    AudioFormat(Encoding.G722, 16_000),
]
by_format = pytest.mark.parametrize("wire", FORMATS, ids=lambda wire: f"{wire.encoding.name}-{wire.rate_hz}")


def on_the_wire(wire: AudioFormat) -> gateway_pb2.AudioFormat:
    return gateway_pb2.AudioFormat(encoding=int(wire.encoding), sample_rate_hz=wire.rate_hz)


def voice(seconds: float, rate_hz: int) -> np.ndarray:
    time_s = np.arange(round(seconds * rate_hz)) / rate_hz
    return (0.4 * np.sin(2 * np.pi * 440 * time_s) + 0.2 * np.sin(2 * np.pi * 1_200 * time_s)).astype(np.float32)


# --- order and counts


async def test_every_frame_is_answered_once_in_order_with_its_text_before_its_audio() -> None:
    async with cluster() as all_of_it:
        caller = Caller(all_of_it.stub)
        await caller.start()
        await caller.say_levels(SAID)
        heard = await caller.hang_up()
        assert heard.levels == SAID
        assert heard.texts == [(index, f" {index}") for index in range(0, len(SAID), 2)]
        kinds = [message.WhichOneof("message") for message in heard.messages]
        assert kinds == ["started", *["text", "audio", "audio"] * (len(SAID) // 2), "ended"]
        assert [packet.first_sample for packet in heard.packets] == [1920 * index for index in range(len(SAID))]
        await all_of_it.until_free()


async def test_the_counters_of_a_call_are_exact() -> None:
    async with cluster() as all_of_it:
        caller = Caller(all_of_it.stub)
        await caller.start()
        await caller.say_levels(SAID)
        heard = await caller.hang_up()
        counters = heard.counters
        assert heard.ended.reason == gateway_pb2.Ended.REASON_HANGUP
        assert counters.frames_in == counters.frames_out == len(SAID)
        assert counters.samples_in == counters.samples_out == 1920 * len(SAID)
        assert counters.frames_filled == counters.frames_dropped == counters.reply_frames_dropped == counters.moves == 0
        assert 1 <= counters.backlog_frames_max <= len(SAID)
        assert 0 < counters.turnaround_p50_us <= counters.turnaround_p99_us
        await all_of_it.until_free()


async def test_the_metrics_agree_with_the_counters() -> None:
    async with cluster() as all_of_it:
        caller = Caller(all_of_it.stub)
        await caller.start()
        assert all_of_it.sample("moshi_gateway_calls_active") == 1
        assert all_of_it.sample("moshi_gateway_workers", service="codec") == 1
        assert all_of_it.sample("moshi_gateway_workers", service="lm") == 1
        await caller.say_levels(SAID)
        late = (await caller.hang_up()).counters.frames_late
        await all_of_it.until_free()
        assert all_of_it.sample("moshi_gateway_calls_active") == 0
        assert all_of_it.sample("moshi_gateway_sessions_total", outcome="ok") == 1
        for kind, frames in {"in": len(SAID), "out": len(SAID), "late": late, "dropped": 0, "filled": 0}.items():
            assert all_of_it.sample("moshi_gateway_frames_total", kind=kind) == frames, kind
        for hop in ("edge_in", "encode", "lm", "decode", "edge_out", "turnaround"):
            assert all_of_it.sample("moshi_gateway_hop_seconds_count", hop=hop) == len(SAID), hop
        assert all_of_it.sample("moshi_gateway_backlog_frames_count") == len(SAID)
        assert all_of_it.sample("moshi_gateway_setup_seconds_count") == 1


@hypothesis.settings(max_examples=15)
@hypothesis.given(sizes=st.lists(st.integers(0, 6_000), min_size=1, max_size=12))
async def test_packets_of_any_length_give_the_same_frames(sizes: list[int]) -> None:
    said = np.repeat(np.arange(1, 39, dtype="<f4") / 60, 1920)[: sum(sizes)]
    async with cluster() as all_of_it:
        caller = Caller(all_of_it.stub)
        await caller.start()
        for end, size in zip(np.cumsum(sizes), sizes, strict=True):
            await caller.say(said[end - size : end].tobytes())
        heard = await caller.hang_up()
        frames = -(-said.size // 1920)
        assert heard.levels == list(range(1, frames + 1))
        assert heard.counters.frames_in == heard.counters.frames_out == frames
        assert heard.counters.samples_in == said.size


async def test_half_close_answers_the_frame_that_was_begun() -> None:
    async with cluster() as all_of_it:
        caller = Caller(all_of_it.stub)
        await caller.start()
        await caller.say(frame(5) + frame(6)[: 4 * 100])
        heard = await caller.hang_up()
        assert heard.levels == [5, 6]
        assert heard.counters.samples_in == 2020


async def test_a_call_without_audio_ends_well() -> None:
    async with cluster() as all_of_it:
        caller = Caller(all_of_it.stub)
        await caller.start()
        await caller.say(b"")
        heard = await caller.hang_up()
        assert [message.WhichOneof("message") for message in heard.messages] == ["started", "ended"]
        assert heard.counters.frames_in == heard.counters.turnaround_p99_us == 0
        await all_of_it.until_free()


async def test_a_caller_who_says_nothing_is_answered_to_silence() -> None:
    async with cluster(jitter_allowance_ms=20) as all_of_it:
        caller = Caller(all_of_it.stub)
        await caller.start()
        await caller.answered(3)
        await caller.say(frame(9))
        heard = await caller.hang_up()
        counters = heard.counters
        assert balanced(counters)
        assert counters.frames_filled >= 3
        assert counters.frames_in == 1
        assert heard.levels == [0] * counters.frames_filled + [9] or counters.frames_dropped
        told = sum(event.frames for event in heard.events(Kind.KIND_FILLED))
        assert told == counters.frames_filled == all_of_it.sample("moshi_gateway_frames_total", kind="filled")


async def test_when_the_gateway_stood_still_what_came_meanwhile_is_read_before_silence_stands_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(call, "_READ_FIRST_S", 2.0)  # the test's own machine may stand still once more
    async with cluster(jitter_allowance_ms=400) as all_of_it:
        caller = Caller(all_of_it.stub)
        await caller.start()
        await caller.say_levels([1])
        await caller.answered(1)
        time.sleep(2.0)  # noqa: ASYNC251  # the loop of everything; beyond what the first frame may take, which is 1.8 s
        await caller.say_levels(range(2, 28))
        heard = await caller.hang_up()
        assert heard.levels == [*range(1, 28)]
        assert heard.counters.frames_filled == heard.counters.frames_dropped == 0


async def test_a_backlog_beyond_its_limit_loses_its_oldest_frames_and_says_so() -> None:
    codec = EchoCodec()
    async with cluster([codec], backlog_frames=3, inflight_frames=1) as all_of_it:
        codec.encoder.hold()
        caller = Caller(all_of_it.stub)
        await caller.start()
        await caller.say(frame(0))
        await codec.encoder.step_entered()
        await caller.say_levels(range(1, 9))
        await eventually(lambda: all_of_it.sample("moshi_gateway_frames_total", kind="dropped") == 5)
        codec.encoder.let_all()
        heard = await caller.hang_up()
        assert heard.levels == [0, 6, 7, 8]
        assert heard.counters.frames_dropped == sum(event.frames for event in heard.events(Kind.KIND_DROPPED)) == 5
        assert heard.counters.backlog_frames_max == 3
        assert balanced(heard.counters)


async def test_two_calls_do_not_mix() -> None:
    async with cluster([EchoCodec(2)], [EchoLm(2)]) as all_of_it:
        one, other = Caller(all_of_it.stub), Caller(all_of_it.stub)
        await one.start()
        await other.start(input_format=F32_24K)
        for level in range(20):
            await one.say_levels([level])
            await other.say_levels([59 - level])
        assert (await one.hang_up()).levels == list(range(20))
        assert (await other.hang_up()).levels == [59 - level for level in range(20)]


# --- formats


@by_format
async def test_a_line_hears_itself_in_every_format(wire: AudioFormat) -> None:
    """Loopback is the edge alone: decode, resample, frame, resample, encode."""
    sent = AudioEncoder(wire, 20).encode(voice(0.5, wire.rate_hz))
    async with cluster() as all_of_it:
        caller = Caller(all_of_it.stub)
        started = await caller.start(input_format=on_the_wire(wire), loopback=True)
        assert started.output_format == on_the_wire(wire)
        assert started.reply_packet_ms == 80
        packet_bytes = wire.bytes_per_s // 50
        for position in range(0, len(sent), packet_bytes):
            await caller.say(sent[position : position + packet_bytes])
        heard = await caller.hang_up()
    assert heard.audio == replies_of_the_edge(wire, sent)
    assert heard.counters.samples_in == round(0.5 * wire.rate_hz)
    assert heard.counters.samples_out == 7 * wire.rate_hz * 8 // 100
    assert len(heard.audio) == 7 * wire.bytes_per_s * 8 // 100
    if wire.rate_hz == 24_000:
        assert heard.audio[: len(sent)] == sent


def replies_of_the_edge(wire: AudioFormat, sent: bytes) -> bytes:
    decoder, assembler, cutter = AudioDecoder(wire), FrameAssembler(), ReplyCutter(wire, 80)
    frames = assembler.push(decoder.decode(sent))
    last = assembler.flush(decoder.flush())
    frames += [last.samples] if last else []
    assert all(samples.size == FRAME_SAMPLES for samples in frames)
    return b"".join(packet.data for samples in frames for packet in cutter.push(samples))


@pytest.mark.parametrize("packet_ms", [10, 20, 30, 70, 100])
async def test_replies_are_cut_to_the_length_asked_for(packet_ms: int) -> None:
    mulaw = gateway_pb2.AudioFormat(encoding=gateway_pb2.ENCODING_MULAW)
    async with cluster() as all_of_it:
        caller = Caller(all_of_it.stub)
        started = await caller.start(output_format=mulaw, reply_packet_ms=packet_ms)
        assert (started.reply_packet_ms, started.output_format.sample_rate_hz) == (packet_ms, 8000)
        await caller.say_levels(SAID)
        heard = await caller.hang_up()
    *whole, last = [len(packet.data) for packet in heard.packets]
    assert set(whole) <= {8 * packet_ms}
    assert 0 < last <= 8 * packet_ms
    assert sum(whole) + last == heard.counters.samples_out == 640 * len(SAID)
    assert heard.counters.frames_out == len(SAID)


async def test_paced_replies_are_the_same_replies() -> None:
    async with cluster() as all_of_it:
        caller = Caller(all_of_it.stub)
        await caller.start(reply_pacing=gateway_pb2.Start.REPLY_PACING_PACED, reply_packet_ms=20)
        await caller.say_levels(SAID[:6])
        heard = await caller.hang_up()
        assert heard.levels == SAID[:6]
        assert heard.counters.frames_out == 6

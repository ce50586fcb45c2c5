"""What a caller gets for what he sends: order, counts, formats, controls."""

from __future__ import annotations

import asyncio

import grpc
import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from moshi_cluster.services.gateway.audio.formats import AudioFormat, Encoding
from moshi_cluster.services.gateway.audio.framing import FRAME_SAMPLES, FrameAssembler, ReplyCutter
from moshi_cluster.services.gateway.audio.transcode import AudioDecoder, AudioEncoder
from moshi_cluster.v1 import gateway_pb2
from tests.services.gateway.caller import F32_24K, Caller, Kind, frame
from tests.services.gateway.cluster import EchoCodec, EchoLm, cluster
from tests.services.in_process import eventually

pytestmark = pytest.mark.usefixtures("nothing_swallowed")

LEVELS = [(7 * index) % 60 for index in range(24)]
FORMATS = [
    AudioFormat(Encoding.PCM_S16LE, 24_000),
    AudioFormat(Encoding.PCM_F32LE, 24_000),
    AudioFormat(Encoding.PCM_S16LE, 8_000),
    AudioFormat(Encoding.PCM_F32LE, 8_000),
    AudioFormat(Encoding.PCM_S16LE, 16_000),
    AudioFormat(Encoding.PCM_F32LE, 48_000),
    AudioFormat(Encoding.MULAW, 8_000),
    AudioFormat(Encoding.ALAW, 8_000),
]
by_format = pytest.mark.parametrize("line", FORMATS, ids=lambda line: f"{line.encoding.name}-{line.rate_hz}")


def on_the_wire(line: AudioFormat) -> gateway_pb2.AudioFormat:
    return gateway_pb2.AudioFormat(encoding=int(line.encoding), sample_rate_hz=line.rate_hz)


def voice(seconds: float, rate_hz: int) -> np.ndarray:
    time = np.arange(round(seconds * rate_hz)) / rate_hz
    return (0.4 * np.sin(2 * np.pi * 440 * time) + 0.2 * np.sin(2 * np.pi * 1_200 * time)).astype(np.float32)


def balanced(counters: gateway_pb2.Counters) -> bool:
    stepped = counters.frames_in + counters.frames_filled - counters.frames_dropped
    return stepped == counters.frames_out + counters.reply_frames_dropped


# --- order and counts


async def test_every_frame_is_answered_once_in_order_with_its_text_before_its_audio() -> None:
    async with cluster() as all_of_it:
        caller = Caller(all_of_it.stub)
        await caller.start()
        await caller.say_levels(LEVELS)
        heard = await caller.hang_up()
        assert heard.levels == LEVELS
        assert heard.texts == [(index, f" {index}") for index in range(0, len(LEVELS), 2)]
        kinds = [message.WhichOneof("message") for message in heard.messages]
        assert kinds == ["started", *["text", "audio", "audio"] * (len(LEVELS) // 2), "ended"]
        assert [packet.first_sample for packet in heard.packets] == [1920 * index for index in range(len(LEVELS))]
        await all_of_it.until_free()


async def test_the_counters_of_a_call_are_exact() -> None:
    async with cluster() as all_of_it:
        caller = Caller(all_of_it.stub)
        await caller.start()
        await caller.say_levels(LEVELS)
        heard = await caller.hang_up()
        counters = heard.counters
        assert heard.ended.reason == gateway_pb2.Ended.REASON_HANGUP
        assert counters.frames_in == counters.frames_out == len(LEVELS)
        assert counters.samples_in == counters.samples_out == 1920 * len(LEVELS)
        assert counters.frames_filled == counters.frames_dropped == counters.reply_frames_dropped == counters.moves == 0
        assert 1 <= counters.backlog_frames_max <= len(LEVELS)
        assert 0 < counters.turnaround_p50_us <= counters.turnaround_p99_us
        await all_of_it.until_free()


async def test_the_metrics_agree_with_the_counters() -> None:
    async with cluster() as all_of_it:
        caller = Caller(all_of_it.stub)
        await caller.start()
        assert all_of_it.sample("moshi_gateway_calls_active") == 1
        assert all_of_it.sample("moshi_gateway_workers", service="codec") == 1
        assert all_of_it.sample("moshi_gateway_workers", service="lm") == 1
        await caller.say_levels(LEVELS)
        late = (await caller.hang_up()).counters.frames_late
        await all_of_it.until_free()
        assert all_of_it.sample("moshi_gateway_calls_active") == 0
        assert all_of_it.sample("moshi_gateway_sessions_total", outcome="ok") == 1
        for kind, frames in {"in": len(LEVELS), "out": len(LEVELS), "late": late, "dropped": 0, "filled": 0}.items():
            assert all_of_it.sample("moshi_gateway_frames_total", kind=kind) == frames, kind
        for hop in ("edge_in", "encode", "lm", "decode", "edge_out", "turnaround"):
            assert all_of_it.sample("moshi_gateway_hop_seconds_count", hop=hop) == len(LEVELS), hop
        assert all_of_it.sample("moshi_gateway_backlog_frames_count") == len(LEVELS)
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


# --- formats


@by_format
async def test_a_line_hears_itself_in_every_format(line: AudioFormat) -> None:
    """Loopback is the edge alone: decode, resample, frame, resample, encode."""
    sent = AudioEncoder(line, 20).encode(voice(0.5, line.rate_hz))
    async with cluster() as all_of_it:
        caller = Caller(all_of_it.stub)
        started = await caller.start(input_format=on_the_wire(line), loopback=True)
        assert started.output_format == on_the_wire(line)
        assert started.reply_packet_ms == 80
        packet_bytes = line.rate_hz // 50 * line.sample_bytes
        for position in range(0, len(sent), packet_bytes):
            await caller.say(sent[position : position + packet_bytes])
        heard = await caller.hang_up()
    assert heard.audio == replies_of_the_edge(line, sent)
    assert heard.counters.samples_in == round(0.5 * line.rate_hz)
    assert heard.counters.samples_out == len(heard.audio) // line.sample_bytes == 7 * line.rate_hz * 8 // 100
    if line.rate_hz == 24_000:
        assert heard.audio[: len(sent)] == sent


def replies_of_the_edge(line: AudioFormat, sent: bytes) -> bytes:
    decoder, assembler, cutter = AudioDecoder(line), FrameAssembler(), ReplyCutter(line, 80)
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
        await caller.say_levels(LEVELS)
        heard = await caller.hang_up()
    *whole, last = [len(packet.data) for packet in heard.packets]
    assert set(whole) <= {8 * packet_ms}
    assert 0 < last <= 8 * packet_ms
    assert sum(whole) + last == heard.counters.samples_out == 640 * len(LEVELS)
    assert heard.counters.frames_out == len(LEVELS)


async def test_paced_replies_are_the_same_replies() -> None:
    async with cluster() as all_of_it:
        caller = Caller(all_of_it.stub)
        await caller.start(reply_pacing=gateway_pb2.Start.REPLY_PACING_PACED, reply_packet_ms=20)
        await caller.say_levels(LEVELS[:6])
        heard = await caller.hang_up()
        assert heard.levels == LEVELS[:6]
        assert heard.counters.frames_out == 6


# --- controls


async def test_a_mark_is_echoed_after_the_audio_before_it() -> None:
    codec = EchoCodec()
    async with cluster([codec]) as all_of_it:
        caller = Caller(all_of_it.stub)
        await caller.start()
        await caller.say_levels([1, 2])
        await caller.answered(2)
        await caller.control(mark=gateway_pb2.Control.Mark(name="two said"))
        await caller.until("event")
        await caller.say_levels([3])
        heard = await caller.hang_up()
        position = [message.HasField("event") for message in heard.messages].index(True)
        assert heard.messages[position].event == gateway_pb2.Event(
            kind=Kind.KIND_MARK, detail="two said", frame_index=2
        )
        assert len([m for m in heard.messages[:position] if m.HasField("audio")]) == 2
        assert heard.levels == [1, 2, 3]


async def test_clear_throws_away_what_has_not_left_and_marks_behind_it_come_at_once() -> None:
    async with cluster() as all_of_it:
        caller = Caller(all_of_it.stub)
        await caller.start(reply_pacing=gateway_pb2.Start.REPLY_PACING_PACED)
        await caller.say_levels(LEVELS[:10])
        await eventually(lambda: all_of_it.sample("moshi_gateway_hop_seconds_count", hop="decode") == 10)
        await caller.control(mark=gateway_pb2.Control.Mark(name="end"))
        await caller.control(clear=gateway_pb2.Control.Clear())
        heard = await caller.hang_up()
        (cleared,) = heard.events(Kind.KIND_CLEARED)
        assert [event.detail for event in heard.events(Kind.KIND_MARK)] == ["end"]
        assert cleared.frames == heard.counters.reply_frames_dropped > 0
        assert heard.levels == LEVELS[: 10 - cleared.frames]
        assert balanced(heard.counters)
        assert all_of_it.sample("moshi_gateway_frames_total", kind="reply_dropped") == cleared.frames


async def test_what_is_said_during_a_pause_is_dropped_and_counted() -> None:
    async with cluster() as all_of_it:
        caller = Caller(all_of_it.stub)
        await caller.start()
        await caller.say_levels([1, 2])
        await caller.answered(2)
        await caller.control(pause=gateway_pb2.Control.Pause())
        await caller.until("event", Kind.KIND_PAUSED)
        await caller.say_levels([3, 4, 5])
        await eventually(lambda: all_of_it.sample("moshi_gateway_frames_total", kind="reply_dropped") == 3)
        await caller.control(resume=gateway_pb2.Control.Resume())
        await caller.until("event", Kind.KIND_RESUMED)
        await caller.say_levels([6])
        heard = await caller.hang_up()
        assert heard.levels == [1, 2, 6]
        assert heard.counters.reply_frames_dropped == 3
        assert balanced(heard.counters)
        assert [index for index, _ in heard.texts] == [0, 2, 4]


async def test_a_call_that_hangs_up_paused_ends_balanced() -> None:
    async with cluster() as all_of_it:
        caller = Caller(all_of_it.stub)
        await caller.start(reply_packet_ms=100)
        await caller.control(pause=gateway_pb2.Control.Pause())
        await caller.say_levels(LEVELS[:7])
        heard = await caller.hang_up()
        assert heard.packets == []
        assert heard.counters.reply_frames_dropped == 7
        assert balanced(heard.counters)


async def test_status_tells_the_counters_so_far() -> None:
    async with cluster() as all_of_it:
        caller = Caller(all_of_it.stub)
        await caller.start()
        await caller.say_levels([1, 2, 3])
        await caller.answered(3)
        await caller.control(status=gateway_pb2.Control.StatusRequest())
        event = (await caller.until("event")).event
        assert event.kind == Kind.KIND_STATUS
        assert (event.counters.frames_in, event.counters.frames_out, event.frame_index) == (3, 3, 3)
        await caller.hang_up()


async def test_keys_are_noted() -> None:
    async with cluster() as all_of_it:
        caller = Caller(all_of_it.stub)
        await caller.start()
        for digit in "0*#D":
            await caller.control(dtmf=gateway_pb2.Control.Dtmf(digit=digit, duration_ms=100))
        heard = await caller.hang_up()
        assert [event.detail for event in heard.events(Kind.KIND_DTMF)] == list("0*#D")
        assert all_of_it.sample("moshi_gateway_dtmf_total") == 4


# --- limits


async def test_a_broken_slo_on_lateness_ends_the_call_with_the_figures() -> None:
    codec = EchoCodec()
    async with cluster([codec]) as all_of_it:
        caller = Caller(all_of_it.stub)
        await caller.start(slo=gateway_pb2.Slo(max_late_ratio=0.25))
        codec.decoder.hold()
        await caller.say_levels([1])
        await codec.decoder.step_entered()
        await caller.say_levels([1] * 59)
        await eventually(lambda: all_of_it.sample("moshi_gateway_frames_total", kind="in") == 60)
        await asyncio.sleep(0.085)  # every frame so far is then late, on any machine
        codec.decoder.let_all()
        code, details = await caller.status()
        assert code == grpc.StatusCode.DEADLINE_EXCEEDED
        assert details == "slo: 50 of 50 frames were late, a share of 1.0000, more than 0.25"
        await all_of_it.until_free()
        assert all_of_it.sample("moshi_gateway_sessions_total", outcome="DEADLINE_EXCEEDED") == 1


async def test_a_broken_slo_on_backlog_ends_the_call_with_the_figures() -> None:
    codec = EchoCodec()
    async with cluster([codec], inflight_frames=1) as all_of_it:
        caller = Caller(all_of_it.stub)
        await caller.start(slo=gateway_pb2.Slo(max_backlog_frames=4))
        codec.encoder.hold()
        await caller.say_levels([1])
        await codec.encoder.step_entered()
        await caller.say_levels([1] * 5)
        assert await caller.status() == (grpc.StatusCode.DEADLINE_EXCEEDED, "slo: 5 frames wait, more than 4")
        codec.encoder.let_all()
        await all_of_it.until_free()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"idle_timeout_s": 0.1}, "the caller sent nothing"),
        ({"session_max_s": 0.1}, "the call reached its longest time of 0.1 s"),
    ],
)
async def test_a_call_that_reaches_a_limit_ends(setting: dict[str, float], message: str) -> None:
    async with cluster(**setting) as all_of_it:
        caller = Caller(all_of_it.stub)
        await caller.start()
        assert await caller.status() == (grpc.StatusCode.DEADLINE_EXCEEDED, message)
        await all_of_it.until_free()
        assert all_of_it.sample("moshi_gateway_sessions_total", outcome="DEADLINE_EXCEEDED") == 1


async def test_replies_that_do_not_come_after_hang_up_end_the_call() -> None:
    codec = EchoCodec()
    async with cluster([codec], flush_timeout_s=0.1) as all_of_it:
        caller = Caller(all_of_it.stub)
        await caller.start()
        codec.encoder.hold()
        await caller.say_levels([1])
        await caller.call.done_writing()
        code, details = await caller.status()
        assert (code, details) == (grpc.StatusCode.DEADLINE_EXCEEDED, "the last replies were not taken in time")
        codec.encoder.let_all()
        await all_of_it.until_free()


async def test_a_slow_reader_is_bounded_and_told() -> None:
    async with cluster(reply_backlog_ms=800, max_messages_per_s=1e6) as all_of_it:
        caller = Caller(all_of_it.stub)
        await caller.start(loopback=True)
        for start in range(0, 600, 10):
            await caller.say_levels([level % 60 for level in range(start, start + 10)])
        await caller.call.done_writing()
        await eventually(lambda: all_of_it.sample("moshi_gateway_hop_seconds_count", hop="edge_in") == 600)
        heard = await caller.rest()
        counters = heard.counters
        assert counters.frames_in == 600
        assert counters.reply_frames_dropped > 0, "the transport holds more than the test sends"
        assert balanced(counters)
        assert counters.frames_out == len(heard.levels)
        assert sum(event.frames for event in heard.events(Kind.KIND_REPLY_DROPPED)) == counters.reply_frames_dropped
        assert all_of_it.sample("moshi_gateway_frames_total", kind="reply_dropped") == counters.reply_frames_dropped


async def test_a_caller_who_never_reads_ends_and_frees_his_slots() -> None:
    async with cluster(flush_timeout_s=0.2, reply_backlog_ms=800, max_messages_per_s=1e6) as all_of_it:
        caller = Caller(all_of_it.stub)
        await caller.start()
        for _ in range(30):
            await caller.say_levels(LEVELS)
        await caller.call.done_writing()
        await all_of_it.until_free()
        assert all_of_it.sample("moshi_gateway_sessions_total", outcome="DEADLINE_EXCEEDED") == 1
        caller.call.cancel()


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

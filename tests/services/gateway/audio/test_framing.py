import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moshi_cluster.services.gateway.audio.formats import AudioFormat, Encoding
from moshi_cluster.services.gateway.audio.framing import FrameAssembler, ReplyCutter
from moshi_cluster.services.gateway.audio.transcode import AudioEncoder

FORMATS = [
    AudioFormat(Encoding.PCM_S16LE, 24_000),
    AudioFormat(Encoding.PCM_F32LE, 48_000),
    AudioFormat(Encoding.PCM_S16LE, 16_000),
    AudioFormat(Encoding.MULAW, 8_000),
    AudioFormat(Encoding.PCM_S16BE, 8_000),
    AudioFormat(Encoding.G722, 16_000),
]


def noise(samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.9, 0.9, samples).astype(np.float32)


@settings(max_examples=100, deadline=None)
@given(lengths=st.lists(st.integers(0, 6_000), max_size=12))
def test_frames_are_the_packets_in_order_and_nothing_else(lengths):
    sound = noise(sum(lengths))
    assembler = FrameAssembler()
    frames, start = [], 0
    for length in lengths:
        frames += assembler.push(sound[start : start + length])
        start += length
    assert all(frame.size == 1_920 for frame in frames)
    assert len(frames) == sound.size // 1_920
    assert assembler.pending_samples == sound.size % 1_920
    last = assembler.flush()
    joined = np.concatenate([*frames, *([last.samples] if last else [])]) if frames or last else np.empty(0)
    assert np.array_equal(joined[: sound.size], sound)
    assert not joined[sound.size :].any()
    assert (last.silence_samples if last else 0) == joined.size - sound.size


def test_whole_frames_leave_nothing_to_flush():
    assembler = FrameAssembler()
    assert len(assembler.push(noise(3_840))) == 2
    assert assembler.flush() is None
    assert assembler.flush(tail=noise(60)) is None


@pytest.mark.parametrize(("begun", "tail", "silence"), [(480, 60, 1_380), (1_900, 60, 1), (1_919, 60, 1)])
def test_the_end_of_the_sound_goes_before_the_silence_as_far_as_there_is_room(begun, tail, silence):
    assembler = FrameAssembler()
    assembler.push(noise(begun))
    ending = np.full(tail, 0.5, dtype=np.float32)
    last = assembler.flush(ending)
    assert last is not None
    assert last.silence_samples == silence
    assert (last.samples[begun : 1_920 - silence] == 0.5).all()
    assert not last.samples[1_920 - silence :].any()


def test_frames_handed_out_are_not_written_again():
    assembler = FrameAssembler()
    (first,) = assembler.push(noise(1_920))
    kept = first.copy()
    assembler.push(noise(1_920, seed=1))
    assert np.array_equal(first, kept)


@settings(max_examples=60, deadline=None)
@given(
    audio=st.sampled_from(FORMATS),
    packet_ms=st.sampled_from(range(10, 101, 10)),
    frame_count=st.integers(0, 12),
)
def test_packets_are_the_reply_cut_exactly(audio, packet_ms, frame_count):
    sound = noise(frame_count * 1_920)
    cutter = ReplyCutter(audio, packet_ms)
    packets = [packet for frame in sound.reshape(-1, 1_920) for packet in cutter.push(frame)]
    packet_samples = audio.rate_hz * packet_ms // 1000
    assert all(packet.samples == packet_samples for packet in packets)
    packets += cutter.flush()

    encoder = AudioEncoder(audio, packet_ms)
    assert b"".join(packet.data for packet in packets) == encoder.encode(encoder.resample(sound))
    assert sum(packet.samples for packet in packets) * 1000 == frame_count * 80 * audio.rate_hz
    assert sum(packet.frames_ended for packet in packets) == frame_count
    position = 0
    for packet in packets:
        assert packet.first_sample == position
        assert len(packet.data) * audio.rate_hz == packet.samples * audio.bytes_per_s
        position += packet.samples


@pytest.mark.parametrize("audio", FORMATS)
def test_20_ms_packets_of_a_frame_all_leave_with_it(audio):
    cutter = ReplyCutter(audio, 20)
    assert [len(cutter.push(noise(1_920))) for _ in range(3)] == [4, 4, 4]
    assert cutter.flush() == []


def test_a_frame_counts_with_the_packet_that_holds_its_last_sample():
    cutter = ReplyCutter(AudioFormat(Encoding.MULAW, 8_000), 100)
    packets = [packet for _ in range(5) for packet in cutter.push(noise(1_920))]
    assert [packet.frames_ended for packet in packets] == [1, 1, 1, 2]

import numpy as np
import pytest

from moshi_cluster.services.common.errors import InvalidInput
from moshi_cluster.services.gateway.audio.formats import AudioFormat, Encoding
from moshi_cluster.services.gateway.audio.transcode import AudioDecoder, AudioEncoder

RATES_HZ = [8_000, 16_000, 24_000, 48_000]
FORMATS = [AudioFormat(encoding, rate) for encoding in (Encoding.PCM_S16LE, Encoding.PCM_F32LE) for rate in RATES_HZ]
FORMATS += [AudioFormat(Encoding.PCM_S16BE, rate) for rate in RATES_HZ]
FORMATS += [AudioFormat(Encoding.MULAW, 8_000), AudioFormat(Encoding.ALAW, 8_000), AudioFormat(Encoding.G722, 16_000)]
COARSE = (Encoding.MULAW, Encoding.ALAW, Encoding.G722)
G722_DELAY_S = 22 / 16_000  # its filters, there and back

by_format = pytest.mark.parametrize("audio", FORMATS, ids=lambda audio: f"{audio.encoding.name}-{audio.rate_hz}")


def tone(rate_hz: int, seconds: float = 0.4, delay_s: float = 0.0) -> np.ndarray:
    time = np.arange(int(rate_hz * seconds)) / rate_hz - delay_s
    return (0.5 * np.sin(2 * np.pi * 1_000 * time)).astype(np.float32)


def codec_delay_s(audio: AudioFormat) -> float:
    return G722_DELAY_S if audio.encoding is Encoding.G722 else 0.0


@by_format
def test_a_second_of_packets_is_a_second_of_samples(audio):
    decoder = AudioDecoder(audio)
    packet = AudioEncoder(audio, 20).encode(tone(audio.rate_hz, 0.02))
    assert [decoder.decode(packet).size for _ in range(50)] == [480] * 50
    assert decoder.samples_in == audio.rate_hz


@by_format
def test_a_tone_decodes_to_the_same_tone_later_by_the_delay(audio):
    decoder = AudioDecoder(audio)
    heard = decoder.decode(AudioEncoder(audio, 20).encode(tone(audio.rate_hz)))
    error = heard - tone(24_000, delay_s=decoder.delay_samples / 24_000 + codec_delay_s(audio))
    noise = 0.02 if audio.encoding in COARSE else 3e-4
    assert np.abs(error[480:]).max() < noise


@by_format
def test_there_and_back_is_the_same_tone_later_by_both_delays(audio):
    decoder, encoder, again = AudioDecoder(audio), AudioEncoder(audio, 20), AudioDecoder(audio)
    line = AudioEncoder(audio, 20).encode(tone(audio.rate_hz))
    returned = encoder.encode(encoder.resample(decoder.decode(line)))
    assert len(returned) == len(line)
    delay_s = decoder.delay_samples / 24_000 + encoder.delay_samples / audio.rate_hz + again.delay_samples / 24_000
    assert delay_s <= 0.0076
    error = again.decode(returned) - tone(24_000, delay_s=delay_s + 2 * codec_delay_s(audio))
    assert np.abs(error[720:]).max() < (0.04 if audio.encoding in COARSE else 6e-4)


@by_format
def test_what_the_filter_holds_comes_with_a_flush(audio):
    decoder = AudioDecoder(audio)
    decoder.decode(AudioEncoder(audio, 20).encode(tone(audio.rate_hz)))
    assert decoder.flush().size == decoder.delay_samples


@by_format
def test_an_empty_packet_means_nothing(audio):
    assert AudioDecoder(audio).decode(b"").size == 0


@by_format
def test_a_part_of_a_sample_is_refused(audio):
    for spare_bytes in range(1, audio.block_bytes):
        with pytest.raises(InvalidInput, match=r"^audio\.data: must be whole samples"):
            AudioDecoder(audio).decode(bytes(audio.block_bytes * 160 + spare_bytes))


@by_format
def test_more_than_a_second_is_refused(audio):
    second = audio.bytes_per_s
    assert AudioDecoder(audio).decode(bytes(second)).size == 24_000
    with pytest.raises(InvalidInput, match=r"^audio\.data: must be at most 1 s"):
        AudioDecoder(audio).decode(bytes(second + audio.block_bytes))


def test_a_refused_packet_leaves_the_decoder_as_it_was():
    audio = AudioFormat(Encoding.PCM_F32LE, 8_000)
    disturbed, calm = AudioDecoder(audio), AudioDecoder(audio)
    packet = tone(8_000, 0.02).tobytes()
    for decoder in (disturbed, calm):
        decoder.decode(packet)
    with pytest.raises(InvalidInput, match=r"^audio\.data: samples must be finite and at most 8 in magnitude$"):
        disturbed.decode(np.full(160, np.nan, dtype="<f4").tobytes())
    assert disturbed.decode(packet).tobytes() == calm.decode(packet).tobytes()
    assert disturbed.samples_in == calm.samples_in


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 48_000])
def test_a_filter_that_overshoots_stays_within_what_the_codec_takes(rate_hz):
    decoder = AudioDecoder(AudioFormat(Encoding.PCM_F32LE, rate_hz))
    square = np.where(np.arange(rate_hz // 2) // (rate_hz // 1000) % 2, 7.9, -7.9).astype("<f4")
    heard = np.concatenate([decoder.decode(square.tobytes()), decoder.flush()])
    assert np.abs(heard).max() == 8

import re
from pathlib import Path

import pytest

from moshi_cluster.services.common.errors import InvalidInput
from moshi_cluster.services.gateway.audio.formats import AudioFormat, Encoding, parse_reply_packet_ms

FIELD = "start.input_format"
CONTRACT = Path(__file__).parents[4] / "protos/moshi_cluster/v1/gateway.proto"
LINEAR = [Encoding.PCM_S16LE, Encoding.PCM_S16BE, Encoding.PCM_F32LE, Encoding.OPUS]
G711 = [Encoding.MULAW, Encoding.ALAW]


def test_encodings_carry_the_numbers_of_the_contract():
    found = re.findall(r"ENCODING_(\w+) = (\d+);", CONTRACT.read_text())
    assert {name: int(number) for name, number in found if name != "UNSPECIFIED"} == {
        encoding.name: encoding.value for encoding in Encoding
    }


@pytest.mark.parametrize("encoding", LINEAR)
@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 24_000, 48_000])
def test_linear_and_opus_come_at_four_rates(encoding, rate_hz):
    assert AudioFormat.parse(int(encoding), rate_hz, FIELD) == AudioFormat(encoding, rate_hz)


@pytest.mark.parametrize("encoding", G711)
@pytest.mark.parametrize("rate_hz", [0, 8_000])
def test_g711_is_8_khz_said_or_unsaid(encoding, rate_hz):
    assert AudioFormat.parse(int(encoding), rate_hz, FIELD) == AudioFormat(encoding, 8_000)


@pytest.mark.parametrize("rate_hz", [0, 16_000])
def test_g722_is_16_khz_said_or_unsaid(rate_hz):
    assert AudioFormat.parse(int(Encoding.G722), rate_hz, FIELD) == AudioFormat(Encoding.G722, 16_000)


def test_the_clock_that_rtp_gives_g722_is_not_its_rate():
    with pytest.raises(InvalidInput, match=r"sample_rate_hz: must be 16000 for G722$"):
        AudioFormat.parse(int(Encoding.G722), 8_000, FIELD)


def test_a_second_of_g722_is_as_many_bytes_as_of_g711():
    assert AudioFormat(Encoding.G722, 16_000).bytes_per_s == AudioFormat(Encoding.MULAW, 8_000).bytes_per_s == 8_000


@pytest.mark.parametrize("encoding", [0, 8, -1, 1 << 31])
def test_an_unknown_encoding_is_refused_by_name(encoding):
    with pytest.raises(InvalidInput, match=r"^start\.input_format\.encoding: must be one of PCM_S16LE .*\)$") as error:
        AudioFormat.parse(encoding, 24_000, FIELD)
    assert error.value.figures == {"field": f"{FIELD}.encoding", "got": str(encoding)}


@pytest.mark.parametrize("encoding", Encoding)
@pytest.mark.parametrize("rate_hz", [1, 11_025, 44_100, 96_000])
def test_an_unknown_rate_is_refused_by_name(encoding, rate_hz):
    with pytest.raises(InvalidInput, match=r"^start\.input_format\.sample_rate_hz: must be (8000|16000)") as error:
        AudioFormat.parse(int(encoding), rate_hz, FIELD)
    assert error.value.figures["got_hz"] == str(rate_hz)


@pytest.mark.parametrize("encoding", LINEAR)
def test_a_missing_rate_is_refused_where_it_means_nothing(encoding):
    with pytest.raises(InvalidInput, match="sample_rate_hz"):
        AudioFormat.parse(int(encoding), 0, FIELD)


@pytest.mark.parametrize("encoding", G711)
def test_g711_at_another_rate_is_refused(encoding):
    with pytest.raises(InvalidInput, match=r"sample_rate_hz: must be 8000 for"):
        AudioFormat.parse(int(encoding), 16_000, FIELD)


@pytest.mark.parametrize(("asked_ms", "given_ms"), [(0, 80), (10, 10), (20, 20), (30, 30), (100, 100)])
def test_reply_packets_are_as_long_as_asked_and_a_frame_unless_asked(asked_ms, given_ms):
    assert parse_reply_packet_ms(asked_ms, AudioFormat(Encoding.MULAW, 8_000)) == given_ms


@pytest.mark.parametrize("packet_ms", [1, 9, 25, 110, 1_000])
def test_other_packet_lengths_are_refused_by_name(packet_ms):
    with pytest.raises(InvalidInput, match=r"^start\.reply_packet_ms: must be 10"):
        parse_reply_packet_ms(packet_ms, AudioFormat(Encoding.PCM_S16LE, 24_000))


def test_opus_has_packets_of_fewer_lengths():
    opus = AudioFormat(Encoding.OPUS, 48_000)
    assert parse_reply_packet_ms(20, opus) == 20
    with pytest.raises(InvalidInput, match=r"10, 20, 40, 60, 80 or 100 for OPUS$"):
        parse_reply_packet_ms(30, opus)

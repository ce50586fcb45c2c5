"""Opus packets in Ogg pages: what is written is Ogg, what is read survives whatever is done to it on the way."""

from __future__ import annotations

import io
from itertools import pairwise

import av
import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from moshi_cluster.audio.ogg import MAX_PACKET_BYTES, OpusStreamReader, OpusStreamWriter
from moshi_cluster.audio.opus import OpusEncoder
from tests.audio import vectors

PACKETS = st.lists(
    st.binary(min_size=1, max_size=700).filter(lambda packet: not packet.startswith(b"Opus")), max_size=8
)


def stream_of(packets: list[bytes]) -> bytes:
    writer = OpusStreamWriter()
    return b"".join(writer.write(packet, 960, 24_000) for packet in packets)


def pages_of(stream: bytes) -> list[bytes]:
    starts = [at for at in range(len(stream)) if stream.startswith(b"OggS", at)]
    return [stream[a:b] for a, b in pairwise([*starts, len(stream)])]


def bitwise_checksum(page: bytes) -> int:
    """As RFC 3533 describes it, one bit at a time."""
    crc = 0
    for byte in page[:22] + bytes(4) + page[26:]:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ 0x04C11DB7 if crc & 0x80000000 else crc << 1) & 0xFFFFFFFF
    return crc


def raw_page(flags: int, lacing: bytes, body: bytes, serial: int = 0, granule: int = 0) -> bytes:
    numbers = granule.to_bytes(8, "little") + serial.to_bytes(4, "little") + bytes(8)
    unsigned = b"OggS\0" + bytes([flags]) + numbers + bytes([len(lacing)]) + lacing + body
    return unsigned[:22] + bitwise_checksum(unsigned).to_bytes(4, "little") + unsigned[26:]


def paged(packet: bytes, cut: int) -> tuple[bytes, bytes]:
    """A packet over two pages, cut after `cut` whole segments."""
    whole, rest = divmod(len(packet), 255)
    lacing = bytes([255] * whole + [rest])
    return raw_page(0, lacing[:cut], packet[: 255 * cut]), raw_page(1, lacing[cut:], packet[255 * cut :])


def test_packets_that_another_implementation_wrote_are_read() -> None:
    reader = OpusStreamReader()
    assert reader.push(vectors.OGG_STREAM) == vectors.OPUS_PACKETS
    assert reader.skipped_bytes == 0


def test_a_stream_begins_with_the_page_of_the_standard() -> None:
    assert OpusStreamWriter().write(b"packet", 480, 24_000).startswith(vectors.OPUS_HEAD_PAGE)


@hypothesis.given(packets=PACKETS, cuts=st.lists(st.integers(1, 400), max_size=20))
def test_packets_pass_however_their_bytes_are_cut(packets: list[bytes], cuts: list[int]) -> None:
    stream, reader, read = stream_of(packets), OpusStreamReader(), []
    for cut in cuts:
        read += reader.push(stream[:cut])
        stream = stream[cut:]
    assert [*read, *reader.push(stream)] == packets
    assert reader.skipped_bytes == 0


@hypothesis.given(before=st.binary(max_size=100), between=st.binary(max_size=100), packets=PACKETS)
def test_bytes_that_are_no_ogg_are_skipped_and_counted(before: bytes, between: bytes, packets: list[bytes]) -> None:
    reader = OpusStreamReader()
    stream = stream_of(packets)
    # A byte that no capture begins with, so that the noise does not run into a page.
    assert reader.push(before + b"." + stream + between + b".") == packets
    assert reader.skipped_bytes >= len(before + between) + 2 - 27


@hypothesis.given(
    data=st.lists(st.binary(max_size=300) | st.just(b"OggS") | st.just(b"OggS\0" + bytes(22)), max_size=10)
)
def test_any_bytes_are_taken_and_little_is_kept(data: list[bytes]) -> None:
    reader = OpusStreamReader()
    for piece in data:
        reader.push(piece)
    # Whatever came, a whole page later the reader is in step again.
    reader.push(bytes(70_000))
    assert reader.push(stream_of([b"a packet"])) == [b"a packet"]


def test_a_damaged_page_costs_itself_alone() -> None:
    pages = pages_of(stream_of([b"one", b"two", b"three"]))
    pages[3] = pages[3][:-1] + b"\0"
    reader = OpusStreamReader()
    assert reader.push(b"".join(pages)) == [b"one", b"three"]
    assert reader.skipped_bytes == len(pages[3])


def test_a_stream_joined_in_the_middle_is_read_from_there() -> None:
    pages = pages_of(stream_of([b"one", b"two", b"three"]))
    assert OpusStreamReader().push(b"".join(pages[3:])) == [b"two", b"three"]


def test_headers_are_left_out_however_often_they_come() -> None:
    reader = OpusStreamReader()
    for packet in (b"one", b"two"):
        assert reader.push(stream_of([packet])) == [packet]


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_a_packet_may_go_on_on_the_next_page(cut: int) -> None:
    packet = bytes(range(256)) * 3
    reader = OpusStreamReader()
    assert reader.push(b"".join(paged(packet, cut))) == [packet]
    assert reader.push(stream_of([b"next"])) == [b"next"]


def test_a_packet_whose_beginning_was_lost_is_left_out() -> None:
    _, second = paged(bytes(700), 1)
    assert OpusStreamReader().push(second + stream_of([b"next"])) == [b"next"]


# --- several logical streams


def voice_of(name: bytes, serial: int, count: int = 4, first_frame: int = 0) -> list[bytes]:
    """Pages of one stream: its head, its tags, then a packet of 20 ms on each."""
    packets = [name + b"%d" % number for number in range(count)]
    data = [
        raw_page(0, bytes([len(packet)]), packet, serial, (first_frame + number + 1) * 960)
        for number, packet in enumerate(packets)
    ]
    return [raw_page(2, b"\x08", b"OpusHead", serial), raw_page(0, b"\x08", b"OpusTags", serial), *data]


def read_all(pages: list[bytes]) -> tuple[list[bytes], int]:
    reader = OpusStreamReader()
    return reader.push(b"".join(pages)), reader.other_pages


def interleaved(*streams: list[bytes]) -> list[bytes]:
    return [page for together in zip(*streams, strict=True) for page in together]


def ended(pages: list[bytes]) -> list[bytes]:
    """The last page says that it is the last one."""
    page = pages[-1]
    unsigned = page[:5] + b"\x04" + page[6:22] + bytes(4) + page[26:]
    return [*pages[:-1], unsigned[:22] + bitwise_checksum(unsigned).to_bytes(4, "little") + unsigned[26:]]


def test_of_two_streams_side_by_side_the_first_one_is_read() -> None:
    pages = interleaved(voice_of(b"a", 7), voice_of(b"b", 8))
    assert read_all(pages) == ([b"a0", b"a1", b"a2", b"a3"], 6)


def test_a_voice_that_comes_in_while_another_speaks_is_not_read() -> None:
    first, second = voice_of(b"a", 7, 8), voice_of(b"b", 8, 4)
    pages = [*first[:4], *interleaved(first[4:], second)]
    assert read_all(pages) == ([b"a%d" % number for number in range(8)], 6)


def test_once_the_first_has_ended_the_second_is_not_taken_up_in_its_middle_and_the_next_is() -> None:
    first, second = ended(voice_of(b"a", 7)), voice_of(b"b", 8, 8)
    pages = [*interleaved(first, second[:6]), *second[6:], *voice_of(b"c", 9, 2)]
    assert read_all(pages) == ([b"a0", b"a1", b"a2", b"a3", b"c0", b"c1"], 10)


@pytest.mark.parametrize("serial", [7, 8])
def test_chained_streams_follow_each_other(serial: int) -> None:
    pages = [*ended(voice_of(b"a", 7, 2)), *voice_of(b"b", serial, 2)]
    assert read_all(pages) == ([b"a0", b"a1", b"b0", b"b1"], 0)


def test_a_stream_that_breaks_off_is_followed_by_the_next_one_a_little_later() -> None:
    """A recorder that was started anew without ending what it wrote before."""
    pages = [*voice_of(b"a", 7, 50), *voice_of(b"b", 8, 150)]
    packets, skipped = read_all(pages)
    assert packets[:50] == [b"a%d" % number for number in range(50)]
    assert packets[50:] == [b"b%d" % number for number in range(75, 150)]
    assert skipped == 2 + 75


@pytest.mark.parametrize("head", [b"\x01vorbis", b"Speex   ", b"\x7fFLAC\x01\0\0", b"\x80theora"])
def test_a_stream_of_another_codec_is_not_read(head: bytes) -> None:
    data = [raw_page(0, b"\x04", b"data", 5) for _ in range(3)]
    other = [raw_page(2, bytes([len(head)]), head, 5), *data]
    assert read_all(other) == ([], 4)
    assert read_all(interleaved(other, voice_of(b"a", 7, 2))) == ([b"a0", b"a1"], 4)


def test_packets_of_two_streams_are_not_joined() -> None:
    first = raw_page(0, b"\xff", bytes(255), 7)
    rest = raw_page(1, b"\x01", b"x", 8)
    assert read_all([first, rest, raw_page(5, b"\x01", b"y", 7)]) == ([bytes(255) + b"y"], 1)


# --- what it costs


def empty_pages(lacing: bytes, size: int) -> bytes:
    page = raw_page(0, lacing, b"")
    return page * (size // len(page))


@pytest.mark.parametrize("flood", [empty_pages(b"", 100_000), empty_pages(bytes(255), 100_000), b"OggS" * 25_000])
def test_reading_goes_on_page_by_page_so_that_others_get_their_turn(flood: bytes) -> None:
    reader, taken = OpusStreamReader(), []
    for packets in reader.pages(flood + stream_of([b"end"])):
        taken.append(packets)
    assert taken.count([]) >= len(flood) / (255 * 255 + 282)
    assert max(len(packets) for packets in taken) <= 1


def test_a_packet_longer_than_any_is_left_out() -> None:
    most = bytes([255] * 255)
    reader = OpusStreamReader()
    assert reader.push(raw_page(0, most, bytes(255 * 255)) + raw_page(1, most, bytes(255 * 255))) == []
    assert reader.push(raw_page(1, bytes([4, 4]), b"end.next")) == [b"next"]
    assert reader.push(raw_page(0, bytes([255] * 240 + [240]), bytes(MAX_PACKET_BYTES))) == [bytes(MAX_PACKET_BYTES)]


@hypothesis.given(packet=st.binary(max_size=2000))
def test_the_checksum_is_that_of_the_standard(packet: bytes) -> None:
    for page in pages_of(OpusStreamWriter().write(b"." + packet.replace(b"OggS", b""), 960, 24_000)):
        assert int.from_bytes(page[22:26], "little") == bitwise_checksum(page)


def test_another_implementation_reads_what_is_written() -> None:
    encoder, writer = OpusEncoder(24_000, 40), OpusStreamWriter()
    tone = np.sin(np.arange(25 * 960, dtype=np.float32) * 0.1).reshape(25, 960) * 0.5
    stream = b"".join(writer.write(encoder.encode(packet), 960, 24_000) for packet in tone)
    with av.open(io.BytesIO(stream)) as file:
        (track,) = file.streams.audio
        assert (track.codec_context.name, track.codec_context.channels) == ("opus", 1)
        heard = np.concatenate([frame.to_ndarray()[0] for frame in file.decode(audio=0)])
    assert heard.size == 48_000 - 312  # the pre-skip is cut off
    assert abs(heard[10_000:40_000].std() - 0.5 / 2**0.5) < 0.05


def test_a_packet_that_fits_no_page_is_refused() -> None:
    with pytest.raises(ValueError, match="65025 bytes do not fit one page"):
        OpusStreamWriter().write(bytes(65_025), 960, 24_000)

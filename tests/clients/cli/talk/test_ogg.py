"""Ogg as the gateway writes and reads it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from moshi_cluster.audio.ogg import OpusStreamReader, OpusStreamWriter
from moshi_cluster.clients.cli.talk.ogg import OggReader, OggWriter

packets = st.lists(st.binary(min_size=1, max_size=1300).filter(lambda p: not p.startswith(b"Opus")), max_size=8)


@given(packets, st.lists(st.integers(1, 400), max_size=10))
def test_packets_are_found_however_the_pages_are_cut(packets: list[bytes], cuts: list[int]) -> None:
    writer, reader = OpusStreamWriter(), OggReader()
    stream = b"".join(writer.write(packet, 960, 24_000) for packet in packets)
    found: list[bytes] = []
    for cut in [*cuts, len(stream)]:
        found += reader.push(stream[:cut])
        stream = stream[cut:]
    assert found == packets


@given(packets)
def test_the_gateway_finds_every_packet_of_ours_and_skips_nothing(packets: list[bytes]) -> None:
    writer, reader = OggWriter(24_000), OpusStreamReader()
    found = reader.push(b"".join(writer.write(packet, 480) for packet in packets))
    assert (found, reader.skipped_bytes) == (packets, 0)


@given(st.binary(max_size=300), packets)
def test_what_is_no_ogg_is_skipped(noise: bytes, packets: list[bytes]) -> None:
    writer, reader = OpusStreamWriter(), OggReader()
    assert reader.push(noise.replace(b"O", b"o")) == []
    assert reader.push(b"".join(writer.write(packet, 960, 24_000) for packet in packets)) == packets


def test_a_packet_that_goes_on_on_the_next_page_is_joined() -> None:
    def page(flags: int, lacing: bytes, body: bytes) -> bytes:
        return b"OggS\0" + bytes([flags]) + bytes(20) + bytes([len(lacing)]) + lacing + body

    pages = page(0, b"\xff\xff", b"a" * 510) + page(1, b"\x05\x02", b"bbbbbcc")
    assert OggReader().push(pages) == [b"a" * 510 + b"b" * 5, b"cc"]

"""What cannot be heard is named, once, and not before it is certain."""

from __future__ import annotations

import pytest

from moshi_cluster.services.gateway.api.websocket.unheard import UnheardCheck

SURE = {
    "WebM or Matroska": b"\x1a\x45\xdf\xa3\x9fB\x86\x81\x01",
    "WAV": b"RIFF\x24\0\0\0WAVEfmt ",
    "FLAC": b"fLaC\0\0\0\x22",
    "MP3": b"ID3\x04\0\0",
    "MP4": b"\0\0\0\x20ftypisom",
}


@pytest.mark.parametrize(("name", "data"), SURE.items(), ids=SURE)
def test_a_format_with_a_mark_is_named_at_once(name: str, data: bytes) -> None:
    expected = "nothing of this can be heard: expected Ogg pages with Opus, each message behind a first byte of 1"
    assert UnheardCheck().message(data) == f"{expected}; got {name}"
    assert UnheardCheck().pages(data, of_another_codec=False) == f"{expected}; got {name}"


def test_pages_without_the_byte_before_them_are_named_at_once() -> None:
    assert (UnheardCheck().message(b"OggS\0\2") or "").endswith("got Ogg pages without that first byte")


NOT_SURE = {
    "JSON": b'{"event": "media", "payload": "' + b"A" * 50,
    "bytes of no container that is known here, such as bare PCM": bytes(range(80)),
}


@pytest.mark.parametrize(("name", "data"), NOT_SURE.items(), ids=["json", "pcm"])
def test_what_has_no_mark_is_named_after_a_second_of_it(name: str, data: bytes) -> None:
    check = UnheardCheck()
    told = [check.message(data) for _ in range(100)]
    (sentence,) = filter(None, told)
    assert sentence.endswith(f"got {name}")
    assert told.index(sentence) == -(-4096 // len(data)) - 1


def test_other_streams_in_ogg_are_named_once_no_opus_has_come_for_a_second() -> None:
    check = UnheardCheck()
    assert check.pages(bytes(500), of_another_codec=True) is None
    assert (check.pages(bytes(4000), of_another_codec=False) or "").endswith("got Ogg pages without Opus")


def test_who_is_heard_is_told_nothing() -> None:
    check = UnheardCheck()
    check.message(b"hello")
    check.heard()
    assert check.message(SURE["WAV"]) is check.pages(bytes(9000), of_another_codec=False) is None

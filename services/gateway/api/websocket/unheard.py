"""What clients send that cannot be heard, noticed and named: silence without a word would leave them guessing."""

from __future__ import annotations

_EXPECTED = "nothing of this can be heard: expected Ogg pages with Opus, each message behind a first byte of 1"
_ENOUGH_BYTES = 4096  # a second of Opus; less may be a greeting of their own
_NAME_BYTES = 64

_FORMATS = (
    (0, b"\x1a\x45\xdf\xa3", "WebM or Matroska"),
    (0, b"RIFF", "WAV"),
    (0, b"fLaC", "FLAC"),
    (0, b"ID3", "MP3"),
    (4, b"ftyp", "MP4"),
    (0, b"#!AMR", "AMR"),
    (0, b"FORM", "AIFF"),
    (0, b".snd", "AU"),
)
_JSON = (b"{", b"[")
OGG = b"OggS"


class UnheardCheck:
    """Says once what is wrong with a client of whom nothing can be heard."""

    def __init__(self) -> None:
        self.is_heard = False
        """Whether anything was."""
        self._is_told = False
        self._is_other_ogg = False
        self._bytes = 0
        self._first = b""

    def heard(self) -> None:
        """Something was heard: the format is right."""
        self.is_heard = True

    def message(self, data: bytes) -> str | None:
        """Takes a message of no known type, or a text; the sentence to tell the client, if it is time."""
        return self._take(data, "Ogg pages without that first byte" if data.startswith(OGG) else format_name(data))

    def pages(self, data: bytes, of_another_codec: bool) -> str | None:
        """Takes the payload of an audio message in which no Opus was found; as `message`."""
        self._is_other_ogg |= of_another_codec
        return self._take(data, format_name(data))

    def _take(self, data: bytes, certain: str | None) -> str | None:
        if self.is_heard or self._is_told or not data:
            return None
        self._first = self._first or data[:_NAME_BYTES]
        self._bytes += len(data)
        if certain is None and self._bytes < _ENOUGH_BYTES:
            return None
        self._is_told = True
        return f"{_EXPECTED}; got {certain or self._guess()}"

    def _guess(self) -> str:
        if self._is_other_ogg:
            return "Ogg pages without Opus"
        if self._first.lstrip().startswith(_JSON):
            return "JSON"
        return "bytes of no container that is known here, such as bare PCM"


def format_name(data: bytes) -> str | None:
    """What these bytes are the beginning of, where that is certain."""
    return next((name for at, mark, name in _FORMATS if data.startswith(mark, at)), None)

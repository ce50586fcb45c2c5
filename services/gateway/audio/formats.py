"""What one direction of a call sounds like on the wire, checked once when the call starts."""

from dataclasses import dataclass
from enum import IntEnum

from moshi_cluster.audio.frame import FRAME_MS
from moshi_cluster.audio.g711 import G711_RATE_HZ
from moshi_cluster.services.common.errors import InvalidInput

_RATES_HZ = (8_000, 16_000, 24_000, 48_000)
_OPUS_PACKETS_MS = (10, 20, 40, 60, 80, 100)


class Encoding(IntEnum):
    """How audio is laid out in bytes. The numbers are those of the public contract."""

    PCM_S16LE = 1
    PCM_F32LE = 2
    MULAW = 3
    ALAW = 4
    OPUS = 5
    G722 = 6
    PCM_S16BE = 7


_ONE_RATE_HZ = {Encoding.MULAW: G711_RATE_HZ, Encoding.ALAW: G711_RATE_HZ, Encoding.G722: 16_000}
_BLOCK_BYTES = {Encoding.PCM_S16LE: 2, Encoding.PCM_S16BE: 2, Encoding.PCM_F32LE: 4, Encoding.OPUS: 0}


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """A supported pair of encoding and sample rate. Mono."""

    encoding: Encoding
    rate_hz: int

    @classmethod
    def parse(cls, encoding: int, rate_hz: int, field: str) -> "AudioFormat":
        """The format that `start` asks for; `field` ("start.input_format") is named when it is refused.

        A rate of 0 means 8000 for G.711 and 16000 for G.722. Raises InvalidInput.
        """
        try:
            known = Encoding(encoding)
        except ValueError:
            raise InvalidInput(f"{field}.encoding", f"must be one of {_names()}", got=encoding) from None
        only_hz = _ONE_RATE_HZ.get(known)
        allowed = _RATES_HZ if only_hz is None else (only_hz,)
        rate_hz = rate_hz or only_hz or 0
        if rate_hz not in allowed:
            raise InvalidInput(
                f"{field}.sample_rate_hz", f"must be {_either(allowed)} for {known.name}", got_hz=rate_hz
            )
        return cls(known, rate_hz)

    @property
    def block_bytes(self) -> int:
        """Bytes of the shortest whole piece of sound; 0 for Opus, whose packets have no fixed size."""
        return _BLOCK_BYTES.get(self.encoding, 1)

    @property
    def block_samples(self) -> int:
        """Samples in that piece: one, but two of G.722."""
        return 2 if self.encoding is Encoding.G722 else 1

    @property
    def bytes_per_s(self) -> int:
        """Bytes of a second of sound; 0 for Opus."""
        return self.rate_hz * self.block_bytes // self.block_samples


def parse_reply_packet_ms(packet_ms: int, output: AudioFormat) -> int:
    """The length of one reply packet; 0 means one model frame. Raises InvalidInput.

    Opus packets exist only in some lengths.
    """
    if packet_ms == 0:
        return FRAME_MS
    allowed = _OPUS_PACKETS_MS if output.encoding is Encoding.OPUS else tuple(range(10, 101, 10))
    if packet_ms not in allowed:
        raise InvalidInput(
            "start.reply_packet_ms", f"must be {_either(allowed)} for {output.encoding.name}", got_ms=packet_ms
        )
    return packet_ms


def _names() -> str:
    return ", ".join(f"{encoding.name} ({encoding.value})" for encoding in Encoding)


def _either(values: tuple[int, ...]) -> str:
    *head, last = map(str, values)
    return f"{', '.join(head)} or {last}" if head else last

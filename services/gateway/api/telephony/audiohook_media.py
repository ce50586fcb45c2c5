"""Media of an AudioHook session: the client offers several, the server takes one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from moshi_cluster.services.common.errors import InvalidInput
from moshi_cluster.services.gateway.audio.formats import AudioFormat, Encoding

_RATE_HZ = 8_000
_CALLER, _AGENT = "external", "internal"
_ENCODINGS = {"PCMU": Encoding.MULAW, "L16": Encoding.PCM_S16LE}
"""By the names of the protocol; L16 is little-endian here."""


@dataclass(frozen=True)
class Media:
    """One of what was offered."""

    offer: Mapping[str, Any]
    """As it was offered, and is sent back."""
    audio_format: AudioFormat
    channels: int
    """Interleaved, sample by sample."""
    caller_channel: int
    """Which of them is the caller."""

    def caller(self, data: bytes) -> bytes:
        """The caller's voice in a packet. Raises InvalidInput for parts of samples."""
        if self.channels == 1:
            return data
        block_bytes = self.audio_format.block_bytes
        if len(data) % (self.channels * block_bytes):
            raise InvalidInput("audio.data", "must be whole samples of all channels", got_bytes=len(data))
        samples = np.frombuffer(data, dtype=f"V{block_bytes}")
        return samples[self.caller_channel :: self.channels].tobytes()


def choose(offers: object) -> Media:
    """The caller alone rather than with the agent, mu-law rather than L16. Raises InvalidInput where nothing fits."""
    media = [found for offer in (offers if isinstance(offers, list) else []) if (found := _media(offer))]
    if not media:
        raise InvalidInput("parameters.media", f"must offer {_CALLER} as PCMU or L16 at {_RATE_HZ} Hz")
    return min(media, key=lambda each: (each.channels, each.audio_format.encoding is not Encoding.MULAW))


def _media(offer: object) -> Media | None:
    if not isinstance(offer, dict) or (offer.get("type"), offer.get("rate")) != ("audio", _RATE_HZ):
        return None
    encoding, channels = _encoding(offer.get("format")), _channels(offer.get("channels"))
    if encoding is None or _CALLER not in channels:
        return None
    known = {name: offer[name] for name in ("type", "format", "channels", "rate")}
    return Media(known, AudioFormat(encoding, _RATE_HZ), len(channels), channels.index(_CALLER))


def _encoding(name: object) -> Encoding | None:
    return _ENCODINGS.get(name) if isinstance(name, str) else None


def _channels(given: object) -> Sequence[str]:
    """One or two, each once; none where they are not like that."""
    is_known = isinstance(given, list) and all(name in (_CALLER, _AGENT) for name in given)
    return given if is_known and isinstance(given, list) and len(given) == len(set(given)) else ()

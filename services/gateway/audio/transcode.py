"""A call's bytes to the model's samples, and back. What signal code refuses gets the name of its field here."""

from collections.abc import Callable

import numpy as np

from moshi_cluster.audio import g711, opus_packet, pcm
from moshi_cluster.audio.frame import MODEL_RATE_HZ
from moshi_cluster.audio.pcm import MalformedAudio, Samples
from moshi_cluster.audio.resample import Resampler
from moshi_cluster.services.common.errors import InvalidInput
from moshi_cluster.services.gateway.audio.formats import AudioFormat, Encoding

_DECODERS: dict[Encoding, Callable[[bytes], Samples]] = {
    Encoding.PCM_S16LE: pcm.decode_s16le,
    Encoding.PCM_S16BE: pcm.decode_s16be,
    Encoding.PCM_F32LE: pcm.decode_f32le,
    Encoding.MULAW: g711.decode_mulaw,
    Encoding.ALAW: g711.decode_alaw,
}
_ENCODERS: dict[Encoding, Callable[[Samples], bytes]] = {
    Encoding.PCM_S16LE: pcm.encode_s16le,
    Encoding.PCM_S16BE: pcm.encode_s16be,
    Encoding.PCM_F32LE: pcm.encode_f32le,
    Encoding.MULAW: g711.encode_mulaw,
    Encoding.ALAW: g711.encode_alaw,
}

NO_SAMPLES: Samples = np.empty(0, dtype=np.float32)


class AudioDecoder:
    """The caller's packets to 24 kHz samples. One per call; a refused packet leaves it as it was."""

    def __init__(self, source: AudioFormat) -> None:
        self._source = source
        self._decode, self._decoded_rate_hz = _open_decoder(source)
        self._resampler = _resampler(self._decoded_rate_hz, MODEL_RATE_HZ)
        self.samples_in = 0
        """Samples received so far, at the caller's rate."""

    @property
    def delay_samples(self) -> int:
        """How much later a sound is in the output than in the input, at 24 kHz."""
        return self._resampler.delay_samples if self._resampler else 0

    def duration_s(self, data: bytes) -> float:
        """Seconds in one packet, without decoding it. Raises InvalidInput for parts of samples, more than a second."""
        self._check_length(len(data))
        second_bytes = self._source.bytes_per_s
        return len(data) / second_bytes if second_bytes else opus_packet.duration_s(data)

    def decode(self, data: bytes) -> Samples:
        """One packet to the 24 kHz samples that it completes: exactly 24000 for every second received.

        Raises InvalidInput for parts of samples, more than a second, floats that are no sound, bytes that are no Opus.
        """
        self._check_length(len(data))
        try:
            samples = self._decode(data)
        except MalformedAudio as error:
            raise InvalidInput("audio.data", str(error)) from error
        self.samples_in += samples.size * self._source.rate_hz // self._decoded_rate_hz
        return pcm.bounded(self._resampler.push(samples)) if self._resampler else samples

    def flush(self) -> Samples:
        """What the filter still holds when the caller hangs up, `delay_samples` long."""
        return pcm.bounded(self._resampler.flush()) if self._resampler else NO_SAMPLES

    def _check_length(self, data_bytes: int) -> None:
        size = self._source.block_bytes
        if size == 0:
            return
        if data_bytes % size:
            raise InvalidInput("audio.data", "must be whole samples", sample_bytes=size, got_bytes=data_bytes)
        seconds = data_bytes / self._source.bytes_per_s
        if seconds > 1:
            raise InvalidInput("audio.data", "must be at most 1 s", got_s=seconds)


class AudioEncoder:
    """The model's 24 kHz samples to the caller's bytes. One per call."""

    def __init__(self, target: AudioFormat, packet_ms: int) -> None:
        """`packet_ms` as checked by `formats.parse_reply_packet_ms`: Opus makes no packets of other lengths."""
        self._encode = _open_encoder(target, packet_ms)
        self._resampler = _resampler(MODEL_RATE_HZ, target.rate_hz)

    @property
    def delay_samples(self) -> int:
        """How much later a sound is in the output than in the input, at the caller's rate."""
        return self._resampler.delay_samples if self._resampler else 0

    def resample(self, samples: Samples) -> Samples:
        """24 kHz samples to the caller's rate, any number of them."""
        return self._resampler.push(samples) if self._resampler else samples

    def encode(self, samples: Samples) -> bytes:
        """One packet of samples at the caller's rate. Opus completes a shorter one with silence."""
        return self._encode(samples)


def _resampler(from_hz: int, to_hz: int) -> Resampler | None:
    return None if from_hz == to_hz else Resampler(from_hz, to_hz)


# Opus and G.722 are imported with the first call that speaks them: they bring all of FFmpeg, others do without.


def _open_decoder(source: AudioFormat) -> tuple[Callable[[bytes], Samples], int]:
    """A decoder and the rate that it gives."""
    if source.encoding is Encoding.OPUS:
        from moshi_cluster.audio.opus import DECODED_RATE_HZ, OpusDecoder

        return OpusDecoder().decode, DECODED_RATE_HZ
    if source.encoding is Encoding.G722:
        from moshi_cluster.audio.g722 import G722Decoder

        return G722Decoder().decode, source.rate_hz
    return _DECODERS[source.encoding], source.rate_hz


def _open_encoder(target: AudioFormat, packet_ms: int) -> Callable[[Samples], bytes]:
    if target.encoding is Encoding.OPUS:
        from moshi_cluster.audio.opus import OpusEncoder

        return OpusEncoder(target.rate_hz, packet_ms).encode
    if target.encoding is Encoding.G722:
        from moshi_cluster.audio.g722 import G722Encoder

        return G722Encoder(target.rate_hz * packet_ms // 1000).encode
    return _ENCODERS[target.encoding]

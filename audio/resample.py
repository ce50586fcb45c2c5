"""Band-limited resampling of a stream, between the telephone rates and the model's 24 kHz.

A linear-phase Kaiser-windowed sinc, split into phases. Output sample m of a stream needs only the input that came
before its own time, so n input samples have given exactly ceil(n * up / down) output samples: a packet of whole frames
gives whole frames at once, and the filter shows as a constant delay of the sound, never as a wait for the next packet.
"""

from functools import lru_cache
from math import gcd

import numpy as np

from moshi_cluster.audio.pcm import Samples

DELAY_LOW_RATE_SAMPLES = 20
"""Delay of every conversion, in samples of the lower of the two rates: 2.5 ms at 8 kHz, 1.25 at 16, 0.83 at 24."""

PASS_BAND = 0.88
"""Edge of the flat band as a share of the lower rate's Nyquist frequency: 3520 Hz for a telephone line."""

_KAISER_BETA = 7.2
"""73 dB, the most that this length gives with a transition from `PASS_BAND` to its mirror image around Nyquist."""


class Resampler:
    """A stream of samples to another rate. Splitting the stream into other blocks gives the same bits."""

    def __init__(self, from_hz: int, to_hz: int) -> None:
        divisor = gcd(from_hz, to_hz)
        self._up, self._down = to_hz // divisor, from_hz // divisor
        self._phases = _phases(self._up, self._down)
        self._history = np.zeros(self._phases[0].size - 1, dtype=np.float32)
        self._samples_in = 0
        self._samples_out = 0
        self.delay_samples = DELAY_LOW_RATE_SAMPLES * to_hz // min(from_hz, to_hz)
        """How much later than in the input a sound appears in the output, in output samples."""
        self.tail_samples = DELAY_LOW_RATE_SAMPLES * from_hz // min(from_hz, to_hz)
        """Input samples still inside the filter: this much silence after the stream brings the rest of it out."""

    def push(self, block: Samples) -> Samples:
        """The next samples of the stream, any number of them, to the output samples that they complete."""
        first_in, first_out = self._samples_in, self._samples_out
        taps = self._phases[0].size
        window = np.concatenate((self._history, block))
        self._samples_in += block.size
        self._samples_out = -(-self._samples_in * self._up // self._down)
        self._history = window[window.size - taps + 1 :]
        out = np.empty(self._samples_out - first_out, dtype=np.float32)
        for offset in range(min(self._up, out.size)):
            base, phase = divmod((first_out + offset) * self._down, self._up)
            count = -(-(out.size - offset) // self._up)
            start = base - first_in
            stop = start + (count - 1) * self._down + taps
            # One dot product of fixed length per output sample, whatever the block: this is what makes splits exact.
            every = np.correlate(window[start:stop], self._phases[phase], "valid")
            out[offset :: self._up] = every[:: self._down]
        return out

    def flush(self) -> Samples:
        """The end of the sound, `delay_samples` long. The stream goes on after it as if silence had been pushed."""
        return self.push(np.zeros(self.tail_samples, dtype=np.float32))


@lru_cache
def _phases(up: int, down: int) -> tuple[Samples, ...]:
    """The filter of each output phase, newest input sample last, all of one length, gain 1 at 0 Hz."""
    wide = max(up, down)
    half = DELAY_LOW_RATE_SAMPLES * wide
    time = np.arange(-half, half + 1) / wide
    prototype = np.sinc(time) * np.kaiser(2 * half + 1, _KAISER_BETA)
    length = -(-prototype.size // up)
    prototype = np.pad(prototype, (0, length * up - prototype.size))
    split = prototype.reshape(length, up).T[:, ::-1]
    return tuple(np.ascontiguousarray(taps / taps.sum(), dtype=np.float32) for taps in split)

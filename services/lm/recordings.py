"""Recordings of a voice: WAV files to what the model itself says in a voice prompt, as NVIDIA's program makes it."""

from __future__ import annotations

import io
import wave
from collections.abc import Callable
from functools import cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from moshi_cluster.audio.frame import FRAME_SAMPLES, MODEL_RATE_HZ
from moshi_cluster.audio.spectral_resample import resample_recording
from moshi_cluster.models.mimi import Mimi

LOUDNESS_LUFS = -24.0
_LEAST_S = 0.4  # a block of ITU-R BS.1770: less has no loudness
_RATES_HZ = range(8_000, 192_001)
_SCALES = {2: 1 << 15, 3: 1 << 23, 4: 1 << 31}  # of a sample of so many bytes

Samples = npt.NDArray[np.float32]


def recording_encoder(load_mimi: Callable[[], Mimi], most_frames: int) -> Callable[[bytes], Tensor]:
    """Makes codes int64 [T, K] of a WAV file's bytes, raising ValueError for one that makes no voice.

    load_mimi: called for the first recording; most_frames: of one.
    """
    mimi = cache(load_mimi)

    def encode(content: bytes) -> Tensor:
        samples, rate_hz = read_wav(content)
        frames = -(-samples.size * MODEL_RATE_HZ // (rate_hz * FRAME_SAMPLES))
        if frames > most_frames:
            raise ValueError(f"{samples.size / rate_hz:.1f} s are {frames} frames, at most {most_frames} fit a prompt")
        return _codes(mimi(), levelled(resample_recording(samples, MODEL_RATE_HZ / rate_hz)))

    return encode


def read_wav(content: bytes) -> tuple[Samples, int]:
    """Samples from -1 to 1, and their rate in Hz, of a mono WAV file. Raises ValueError."""
    try:
        with wave.open(io.BytesIO(content)) as file:
            channels, width_bytes, rate_hz = file.getnchannels(), file.getsampwidth(), file.getframerate()
            data = file.readframes(file.getnframes())
    except (wave.Error, EOFError, RuntimeError) as error:
        raise ValueError(f"not a WAV file of PCM samples ({str(error) or 'it ends too early'})") from error
    if channels != 1:
        raise ValueError(f"{channels} channels: a voice is mono")
    if width_bytes not in _SCALES:
        raise ValueError(f"samples of {8 * width_bytes} bits, only 16, 24 and 32 are read")
    if rate_hz not in _RATES_HZ:
        raise ValueError(f"{rate_hz} Hz, only {_RATES_HZ[0]} to {_RATES_HZ[-1]} are read")
    samples = _integers(data, width_bytes) / np.float32(_SCALES[width_bytes])
    if samples.size < _LEAST_S * rate_hz:
        raise ValueError(f"{samples.size / rate_hz:.2f} s are too short, a voice takes {_LEAST_S} s at least")
    return samples.astype(np.float32), rate_hz


def _integers(data: bytes, width_bytes: int) -> npt.NDArray[np.int32]:
    """Samples of `width_bytes`, little-endian, a last one that is cut left out."""
    whole = np.frombuffer(data[: len(data) // width_bytes * width_bytes], np.uint8).reshape(-1, width_bytes)
    padded = np.zeros((len(whole), 4), np.uint8)
    padded[:, 4 - width_bytes :] = whole
    return padded.view("<i4")[:, 0] >> (8 * (4 - width_bytes))


def levelled(samples: Samples) -> Samples:
    """24 kHz samples at `LOUDNESS_LUFS`, measured as ITU-R BS.1770 says. Raises ValueError for silence."""
    import pyloudnorm  # with SciPy half a second, which only a recording is worth

    loudness = pyloudnorm.Meter(MODEL_RATE_HZ).integrated_loudness(samples.astype(np.float64))
    if not np.isfinite(loudness):
        raise ValueError("nothing but silence")
    gain: np.float32 = np.float32(10 ** ((LOUDNESS_LUFS - loudness) / 20))
    return samples * gain


def _codes(mimi: Mimi, samples: Samples) -> Tensor:
    """Frame by frame, as a caller is encoded: int64 [T, K]. The last frame ends in silence."""
    frames = torch.from_numpy(np.pad(samples, (0, -samples.size % FRAME_SAMPLES)).reshape(-1, 1, FRAME_SAMPLES))
    encoder = mimi.encoder(1)
    return torch.cat([encoder.step([0], frame) for frame in frames]).cpu()

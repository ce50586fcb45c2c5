"""What a warm-up costs a codec: the time that its frames take, for one call and for several that move at once."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import torch

from benchmarks.offline.measure import timed_steps
from moshi_cluster.audio.frame import FRAME_SAMPLES
from moshi_cluster.models.mimi import Mimi

_STEPS = 30
_LOUDNESS = 0.07  # standard deviation of speech
_CPU = torch.device("cpu")


def frame_ms(mimi: Mimi, calls: int) -> tuple[float, float]:
    """Median milliseconds of one step of so many sessions: encode, decode."""
    slots = list(range(calls))
    random = torch.Generator().manual_seed(0)
    pcm = _LOUDNESS * torch.randn(calls, FRAME_SAMPLES, generator=random)
    codes = torch.randint(mimi.config.bins, (calls, mimi.codebooks), generator=random)
    encoder, decoder = mimi.encoder(calls), mimi.decoder(calls)
    encode_ms = timed_steps(lambda: encoder.step(slots, pcm), _STEPS, _CPU)
    decode_ms = timed_steps(lambda: decoder.step(slots, codes), _STEPS, _CPU)
    return statistics.median(encode_ms), statistics.median(decode_ms)


def costs_ms(mimi: Mimi, warmups: Sequence[int], calls: Sequence[int]) -> list[list[float]]:
    """By warm-up: milliseconds of encoding, then of decoding its frames, for each number of calls."""
    steps = [frame_ms(mimi, count) for count in calls]
    each = [*(encode for encode, _ in steps), *(decode for _, decode in steps)]
    return [[warmup * ms for ms in each] for warmup in warmups]

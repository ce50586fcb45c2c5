"""A synthesised utterance: samples, and when its phones and words sound."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

from moshi_cluster.audio.pcm import Samples

PHONE_SAMPLES = 480  # phone labels: 50 per second


class Span(NamedTuple):
    """A phone or a word and its place in the samples beside it."""

    label: str
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Speech:
    """`samples` [N] at `sample_rate_hz`, full scale 1.0; pauses are phones with the label "pau"."""

    samples: Samples
    sample_rate_hz: int
    phones: tuple[Span, ...]
    words: tuple[Span, ...] = ()

    @property
    def voiced(self) -> tuple[float, float]:
        """Seconds of the first phone's start and the last phone's end, pauses aside."""
        spoken = [phone for phone in self.phones if phone.label != "pau"]
        return spoken[0].start_s, spoken[-1].end_s

    def stretched(self, samples: Samples, sample_rate_hz: int, factor: float) -> Speech:
        """The speech stretched: other samples that last `factor` times as long."""
        return replace(
            self,
            samples=samples,
            sample_rate_hz=sample_rate_hz,
            phones=_scaled(self.phones, factor),
            words=_scaled(self.words, factor),
        )

    def cut(self, start_s: float, end_s: float) -> Speech:
        """Only what sounds between two times; times count from the cut's start afterwards."""
        first, last = round(start_s * self.sample_rate_hz), round(end_s * self.sample_rate_hz)
        return replace(
            self,
            samples=self.samples[max(first, 0) : last],
            phones=_moved(self.phones, start_s, end_s),
            words=_moved(self.words, start_s, end_s),
        )


def _scaled(spans: tuple[Span, ...], factor: float) -> tuple[Span, ...]:
    return tuple(Span(span.label, span.start_s * factor, span.end_s * factor) for span in spans)


def _moved(spans: tuple[Span, ...], start_s: float, end_s: float) -> tuple[Span, ...]:
    return tuple(
        Span(span.label, max(span.start_s, start_s) - start_s, min(span.end_s, end_s) - start_s)
        for span in spans
        if span.end_s > start_s and span.start_s < end_s
    )

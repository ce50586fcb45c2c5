"""What bad lines do to a call, in simulated time: 20 ms packets through the ingress, which a model steps at once."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from moshi_cluster.services.gateway.audio.formats import AudioFormat, Encoding
from moshi_cluster.services.gateway.calls.clock import CallerClock
from moshi_cluster.services.gateway.calls.counters import CallCounters
from moshi_cluster.services.gateway.calls.events import PendingEvents
from moshi_cluster.services.gateway.calls.ingress import Ingress
from moshi_cluster.services.gateway.metrics import GatewayMetrics

PACKET_S = 0.02
FRAME_S = 0.08
MINUTE = 3_000
FLOATS = AudioFormat(Encoding.PCM_F32LE, 24_000)
LOUDEST = 8_192  # packet numbers are sent as samples from 0.5 to 1, which no one takes for silence


@dataclass(frozen=True)
class Heard:
    """What the model was given: of each sample the number of its packet, from 1; 0 is silence."""

    samples: np.ndarray
    counters: CallCounters


def call(arrivals_s: Iterable[float], end_s: float, allowance_s: float = 0.1) -> Heard:
    """A caller whose packets arrive at these times; their samples count up from 1. The model steps at once."""
    counters = CallCounters(GatewayMetrics(CollectorRegistry()))
    ingress = Ingress(FLOATS, CallerClock(0.0, allowance_s), counters, PendingEvents(0.0))
    heard: list[np.ndarray] = []

    def step() -> None:
        while len(ingress):
            heard.append(ingress.take().pcm)

    def fill_until(now_s: float) -> None:
        while ingress.next_deadline_s <= now_s:
            ingress.fill(ingress.next_deadline_s)
            step()

    for index, now_s in enumerate(sorted(arrivals_s)):
        fill_until(now_s)
        ingress.feed(np.full(480, 0.5 + (index + 1) / LOUDEST, dtype="<f4").tobytes(), now_s)
        step()
    fill_until(end_s)
    samples = np.concatenate(heard)
    return Heard(np.where(samples == 0, 0, (samples - 0.5) * LOUDEST), counters)


def sent(count: int, keep: np.ndarray | None = None, jitter_s: np.ndarray | None = None) -> np.ndarray:
    """When packets arrive that are sent in real time, less those lost, each as late as the line makes it."""
    times = (np.arange(count) + 1) * PACKET_S
    if jitter_s is not None:
        # Packets of a stream arrive in order.
        times = np.maximum.accumulate(times + jitter_s)
    return times if keep is None else times[keep]


def assert_in_real_time(heard: Heard, end_s: float) -> None:
    counters = heard.counters
    stepped = heard.samples.size / 1_920
    assert counters.frames_in + counters.frames_filled - counters.frames_dropped == stepped
    assert stepped * FRAME_S == pytest.approx(end_s, abs=0.3 + 0.001 * end_s)


def packets_heard(heard: Heard) -> int:
    return np.unique(heard.samples[heard.samples > 0]).size


@pytest.mark.parametrize("seed", range(3))
def test_1_percent_of_random_loss_is_filled_in_and_nothing_else_is_lost(seed):
    keep = np.random.default_rng(seed).random(MINUTE) >= 0.01
    heard = call(sent(MINUTE, keep), end_s=60)
    assert_in_real_time(heard, 60)
    assert heard.counters.frames_dropped == 0
    assert packets_heard(heard) >= keep.sum() - 3


@pytest.mark.parametrize("seed", range(3))
def test_3_percent_of_loss_in_bursts_is_filled_in_and_nothing_else_is_lost(seed):
    starts = np.random.default_rng(seed).random(MINUTE) < 0.03 / 8
    keep = np.convolve(starts, np.ones(8), "full")[:MINUTE] == 0
    heard = call(sent(MINUTE, keep), end_s=60)
    assert_in_real_time(heard, 60)
    assert heard.counters.frames_dropped == 0
    assert packets_heard(heard) >= keep.sum() - 3


@pytest.mark.parametrize("seed", range(3))
def test_30_ms_of_jitter_changes_nothing(seed):
    jitter_s = np.abs(np.random.default_rng(seed).normal(0, 0.03, MINUTE)).clip(0, 0.09)
    heard = call(sent(MINUTE, jitter_s=jitter_s), end_s=60)
    assert heard.counters.frames_filled == heard.counters.frames_dropped == 0
    assert packets_heard(heard) == MINUTE


@pytest.mark.parametrize("seed", range(3))
def test_loss_and_jitter_together_keep_the_call_in_real_time(seed):
    random = np.random.default_rng(seed)
    keep = random.random(MINUTE) >= 0.02
    jitter_s = np.abs(random.normal(0, 0.03, MINUTE)).clip(0, 0.09)
    heard = call(sent(MINUTE, keep, jitter_s), end_s=60)
    assert_in_real_time(heard, 60)
    assert packets_heard(heard) >= 0.97 * keep.sum()


def test_a_caller_who_falls_silent_in_the_middle_of_a_frame_is_heard_to_their_last_word():
    heard = call(sent(103), end_s=3)
    last_word = np.flatnonzero(heard.samples == 103)
    assert last_word.size == 480
    assert (np.diff(heard.samples[: last_word[-1]]) <= 1).all()
    assert not heard.samples[last_word[-1] + 1 :].any()


def test_silence_put_into_speech_is_only_what_was_missing():
    """One packet lost in every five frames: each frame filled in begins with the packets that did come."""
    keep = np.arange(MINUTE) % 20 != 7
    heard = call(sent(MINUTE, keep), end_s=60)
    assert_in_real_time(heard, 60)
    silence = (heard.samples == 0).sum() / 480
    assert silence == pytest.approx((~keep).sum(), abs=10)

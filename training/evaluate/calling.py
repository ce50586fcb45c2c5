"""Evaluation callers: recordings call a running cluster in real time, as telephones do, and what they get is kept."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from benchmarks.online.caller import Caller
from benchmarks.online.cluster import Cluster
from benchmarks.online.impairments import send_plan
from benchmarks.online.limits import Limits
from benchmarks.online.matching import FrameMatcher
from benchmarks.online.measure import measure
from benchmarks.online.playback import SimulatedPlayback
from benchmarks.online.record import CallRecord
from benchmarks.online.report import LoadReport
from benchmarks.online.scenarios import PlannedCall
from benchmarks.online.speech import LineFormat
from moshi_cluster.audio.frame import FRAME_S, FRAME_SAMPLES, MODEL_RATE_HZ
from moshi_cluster.audio.g711 import G711_RATE_HZ
from moshi_cluster.cluster.recorded_callers import RecordedCaller
from moshi_cluster.v1 import common_pb2, gateway_pb2
from training.evaluate.judge import HeldCall

LINE = LineFormat("mulaw", G711_RATE_HZ, 20, 20)
# The ear is trained on wide-band speech: of Moshi's own clean voice through 8 kHz mu-law it understands 60 answers of
# 80 instead of 76. So callers speak through a telephone, and what is judged comes back as the codec made it.
REPLY = LineFormat("s16le", MODEL_RATE_HZ, 20, 20)
_BETWEEN_CALLS_S = 1.0
_JOIN_EVERY_S = 0.13  # callers are out of step with each other, as people are


@dataclass
class Transcript:
    """Everything that came back in one call."""

    frames: int
    pieces: list[str] = field(default_factory=list)
    sound: bytearray = field(default_factory=bytearray)

    def __post_init__(self) -> None:
        self.pieces = [""] * self.frames

    def take(self, message: gateway_pb2.ConverseResponse) -> None:
        """A message of the gateway."""
        if message.HasField("text") and message.text.frame_index < self.frames:
            self.pieces[message.text.frame_index] += message.text.piece
        elif message.HasField("audio"):
            # Where replies were dropped there is silence, so that everything keeps its place.
            self.sound.extend(bytes(max(0, 2 * message.audio.first_sample - len(self.sound))))
            self.sound += message.audio.data


@dataclass(frozen=True)
class HeldCalls:
    """Calls after they were held."""

    calls: Sequence[HeldCall]
    report: LoadReport  # of the load driver


def hold(
    cluster: Cluster, recordings: Sequence[RecordedCaller], callers: int, jitter_allowance_ms: int = 0
) -> HeldCalls:
    """Holds calls with so many callers at once, each with one recording after the other. Raises OSError.

    jitter_allowance_ms: how late a packet may be before silence is filled in; 0 for the gateway's own figure.
    """
    transcripts = [Transcript(_frames(recording)) for recording in recordings]
    plan = schedule([transcript.frames for transcript in transcripts], callers)
    start = gateway_pb2.Start(
        input_format=LINE.message(),
        output_format=REPLY.message(),
        reply_packet_ms=REPLY.reply_packet_ms,
        sampling=common_pb2.Sampling(seed=1),  # everything else as the checkpoint says
    )
    if jitter_allowance_ms:
        start.jitter_allowance_ms = jitter_allowance_ms
    calls = [
        _caller(recording, planned, start, transcript)
        for recording, planned, transcript in zip(recordings, plan, transcripts, strict=True)
    ]
    report = measure(cluster, calls, connections=1, limits=Limits(), ramp_step_s=None)
    delay_s = FRAME_S + report.turnaround_ms.p50 / 1000
    judged = [
        HeldCall(recording.turns, transcript.pieces, samples(transcript), delay_s)
        for recording, transcript in zip(recordings, transcripts, strict=True)
    ]
    return HeldCalls(judged, report)


def schedule(frames: Sequence[int], callers: int) -> list[PlannedCall]:
    """Plans the calls, given their lengths in frames: whoever is free first makes the next one."""
    free = [(caller * _JOIN_EVERY_S, caller) for caller in range(callers)]
    planned = []
    for length in frames:
        start_s, caller = heapq.heappop(free)
        planned.append(PlannedCall(caller, start_s, length))
        heapq.heappush(free, (start_s + length * FRAME_S + _BETWEEN_CALLS_S, caller))
    return planned


def _caller(
    recording: RecordedCaller, planned: PlannedCall, start: gateway_pb2.Start, transcript: Transcript
) -> Caller:
    samples = LINE.packet_samples
    messages = [
        gateway_pb2.ConverseRequest(
            audio=gateway_pb2.Audio(data=recording.mu_law[first : first + samples])
        ).SerializeToString()
        for first in range(0, planned.frames * LINE.frame_samples, samples)
    ]
    record = CallRecord(planned, LINE, FrameMatcher(LINE.rate_hz, samples), SimulatedPlayback(), reply_line=REPLY)
    sends = send_plan(len(messages), LINE.packet_ms / 1000, (), planned.caller, np.random.default_rng(0))
    return Caller(record, start, messages, 0, sends, transcript.take)


def _frames(recording: RecordedCaller) -> int:
    return len(recording.mu_law) // LINE.frame_samples


def samples(transcript: Transcript) -> NDArray[np.float32]:
    """Samples of every frame, with silence for what did not come."""
    wanted = transcript.frames * FRAME_SAMPLES
    sound = np.zeros(wanted, np.float32)
    came = np.frombuffer(bytes(transcript.sound), "<i2")[:wanted]
    sound[: len(came)] = came / np.float32(32768)
    return sound

"""Phone client: a gRPC call beside the pages, mu-law in packets of 20 ms."""

from __future__ import annotations

import asyncio

from benchmarks.chat.client_trace import ClientTrace
from moshi_cluster.audio.frame import FRAME_S, MODEL_RATE_HZ
from moshi_cluster.audio.g711 import G711_RATE_HZ
from moshi_cluster.clients.cli.converse import CallScript, Listener, converse
from moshi_cluster.clients.telephony.errors import CallError
from moshi_cluster.clients.telephony.wire_formats import ENCODINGS, S16Samples, to_wire
from moshi_cluster.v1 import gateway_pb2

_PACKET_S = 0.02
_PACKET_SAMPLES = round(G711_RATE_HZ * _PACKET_S)
_FRAME_SAMPLES = round(G711_RATE_HZ * FRAME_S)


class PhoneClient(Listener):
    """One call of a whole number of frames. Calls are refused where pages wait in the queue."""

    def __init__(self, name: str, target: str, samples: S16Samples, frames: int) -> None:
        """samples: of the voice, at the model's rate."""
        self.trace = ClientTrace(name, said_frames=frames)
        self._target = target
        narrow = samples[:: MODEL_RATE_HZ // G711_RATE_HZ]  # good enough to be counted
        needed = frames * _FRAME_SAMPLES
        voice = to_wire((narrow * (needed // len(narrow) + 1))[:needed], "mulaw")
        packets = [voice[first : first + _PACKET_SAMPLES] for first in range(0, needed, _PACKET_SAMPLES)]
        line = gateway_pb2.AudioFormat(encoding=ENCODINGS["mulaw"], sample_rate_hz=G711_RATE_HZ)
        self._call = CallScript(gateway_pb2.Start(input_format=line, reply_packet_ms=20), packets, _PACKET_S)
        self._start_s = 0.0

    async def run(self, start_s: float) -> ClientTrace:
        """start_s: the run's beginning on the loop's clock."""
        self._start_s = start_s
        self.trace.asked_s = asyncio.get_running_loop().time() - start_s
        try:
            reply = await converse(self._target, self._call, self)
        except CallError as error:
            self.trace.failure = str(error)
            return self.trace
        assert reply.ended is not None
        self.trace.heard_frames = len(reply.audio) / _FRAME_SAMPLES
        self.trace.text = reply.text
        counters = {field.name: int(value) for field, value in reply.ended.counters.ListFields()}
        self.trace.turnarounds_ms = [counters.pop("turnaround_p50_us", 0) / 1000]
        self.trace.counters, self.trace.final = counters, True
        return self.trace

    def started(self, started: gateway_pb2.Started) -> None:
        self.trace.ready_s = asyncio.get_running_loop().time() - self._start_s

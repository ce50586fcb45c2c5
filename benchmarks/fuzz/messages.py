"""Fuzz messages: streams of random and mutated messages for the public rpc, the same for the same seed."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from moshi_cluster.v1 import common_pb2, gateway_pb2

_ENCODINGS = (0, 1, 2, 3, 4, 5, 6, 7, 8, 99)
_RATES_HZ = (0, 1, 8_000, 11_025, 16_000, 24_000, 48_000, 2**32 - 1)
_MOST_MESSAGES = 40  # of a stream, beside the first
_FLOATS = (0.0, 0.5, 1.0, -1.0, 1e30, float("nan"), float("inf"))


@dataclass(frozen=True)
class Stream:
    """The bytes of one stream's messages and what the caller does behind them."""

    messages: list[bytes]
    hangs_up: bool  # half-closes and listens, or else drops the call


class FuzzGenerator:
    """Draws streams. Most begin with a valid start, so that the fuzz reaches what lies behind it."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._kinds: list[Callable[[], bytes]] = [
            self._audio,
            self._audio,
            self._control,
            self._wild_start,
            self._noise,
            self._mutated,
            self._mutated,
        ]

    def stream(self) -> Stream:
        """The next stream."""
        r = self._random
        first = self._start().SerializeToString() if r.random() < 0.85 else r.choice(self._kinds)()
        # Half of the streams stay valid to the end: garbage must not be all that the gateway ever sees.
        kinds = [self._audio, self._control] if r.random() < 0.5 else self._kinds
        rest = [r.choice(kinds)() for _ in range(r.randrange(_MOST_MESSAGES))]
        return Stream([first, *rest], hangs_up=r.random() < 0.8)

    def _start(self) -> gateway_pb2.ConverseRequest:
        audio_format = gateway_pb2.AudioFormat(encoding=gateway_pb2.ENCODING_MULAW)
        start = gateway_pb2.Start(input_format=audio_format, loopback=self._random.random() < 0.5)
        start.jitter_allowance_ms = 2000
        return gateway_pb2.ConverseRequest(start=start)

    def _audio(self) -> bytes:
        size = self._random.choice((0, 1, 159, 160, 161, 640, 1600))
        audio = gateway_pb2.Audio(data=self._random.randbytes(size))
        return gateway_pb2.ConverseRequest(audio=audio).SerializeToString()

    def _control(self) -> bytes:
        r = self._random
        control = gateway_pb2.Control()
        kind = r.choice(("clear", "mark", "pause", "resume", "status", "dtmf", None))
        if kind == "mark":
            control.mark.name = "m" * r.choice((0, 1, 64, 65, 5000))
        elif kind == "dtmf":
            control.dtmf.digit = r.choice(("1", "#", "", "12", "é"))
        elif kind is not None:
            getattr(control, kind).SetInParent()
        return gateway_pb2.ConverseRequest(control=control).SerializeToString()

    def _wild_start(self) -> bytes:
        r = self._random
        start = gateway_pb2.Start(
            sampling=common_pb2.Sampling(
                text_temperature=r.choice(_FLOATS), audio_top_k=r.choice((0, 1, 2**32 - 1)), seed=r.getrandbits(64)
            ),
            slo=gateway_pb2.Slo(max_late_ratio=r.choice(_FLOATS), max_backlog_frames=r.getrandbits(32)),
            reply_packet_ms=r.choice((0, 7, 10, 80, 100, 110, 2**32 - 1)),
            call_label=r.choice(("", "label", "\x00", "x" * 1000)),
            loopback=r.random() < 0.5,
        )
        for audio_format in (start.input_format, start.output_format):
            audio_format.encoding = r.choice(_ENCODINGS)  # type: ignore[assignment]  # unknown numbers included
            audio_format.sample_rate_hz = r.choice(_RATES_HZ)
        return gateway_pb2.ConverseRequest(start=start).SerializeToString()

    def _noise(self) -> bytes:
        return self._random.randbytes(self._random.choice((0, 1, 2, 10, 100, 3000)))

    def _mutated(self) -> bytes:
        """A valid message with a few bytes changed, cut, or doubled."""
        r = self._random
        whole = bytearray(r.choice((self._audio, self._control, self._wild_start))())
        for _ in range(r.randrange(1, 4)):
            if not whole:
                break
            place = r.randrange(len(whole))
            match r.randrange(3):
                case 0:
                    whole[place] = r.randrange(256)
                case 1:
                    del whole[place:]
                case _:
                    whole[place:place] = whole[place : place + 8]
        return bytes(whole)

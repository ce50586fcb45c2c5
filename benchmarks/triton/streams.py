"""Streams straight to codec workers: whether two answer alike, and how long a paced frame takes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np

from moshi_cluster.audio.frame import FRAME_S, FRAME_SAMPLES
from moshi_cluster.services.common.rpc import DIRECT
from moshi_cluster.v1 import codec_pb2, codec_pb2_grpc

_PATIENCE_S = 120.0


@dataclass(frozen=True)
class Answers:
    """What came of some streams' audio: codes, and what becomes of those."""

    codes: Sequence[Sequence[Sequence[int]]]  # [B][T][K]
    pcm: Sequence[Sequence[bytes]]  # [B][T]


async def answers(address: str, streams: int, frames: int) -> Answers:
    """Encodes and decodes so many streams at once, each with a voice of its own, as fast as the worker takes them."""
    async with asyncio.timeout(_PATIENCE_S), grpc.aio.insecure_channel(address, options=DIRECT) as channel:
        stub = codec_pb2_grpc.CodecStub(channel)
        encoded = await asyncio.gather(*(_all(stub.Encode(_voice(stream, frames))) for stream in range(streams)))
        codes = [[list(reply.codes) for reply in replies] for replies in encoded]
        decoded = await asyncio.gather(*(_all(stub.Decode(_code_frames(of))) for of in codes))
        return Answers(codes, [[reply.pcm_f32le for reply in replies] for replies in decoded])


async def round_trips_ms(address: str, streams: int, frames: int) -> dict[str, list[float]]:
    """By program: from each frame's departure to its answer, streams out of step with each other."""
    trips: dict[str, list[float]] = {"encode": [], "decode": []}
    async with asyncio.timeout(_PATIENCE_S), grpc.aio.insecure_channel(address, options=DIRECT) as channel:
        stub = codec_pb2_grpc.CodecStub(channel)
        codes = await _all(stub.Encode(_voice(0, frames)))
        jobs = []
        for stream in range(streams):
            offset_s = FRAME_S * stream / streams
            jobs.append(_paced(stub.Encode(), list(_voice(stream, frames)), offset_s, trips["encode"]))
            jobs.append(_paced(stub.Decode(), codes, offset_s + FRAME_S / 2, trips["decode"]))
        await asyncio.gather(*jobs)
    return trips


async def _paced(call: Any, messages: Sequence[Any], offset_s: float, trips_ms: list[float]) -> None:
    begin_s = time.monotonic() + offset_s
    for index, message in enumerate(messages):
        await asyncio.sleep(begin_s + index * FRAME_S - time.monotonic())
        sent_s = time.monotonic()
        await call.write(message)
        await call.read()
        trips_ms.append(1000 * (time.monotonic() - sent_s))
    await call.done_writing()
    await call.read()


def _voice(stream: int, frames: int) -> Any:
    random = np.random.default_rng(stream)
    for index in range(frames):
        samples = (0.2 * random.standard_normal(FRAME_SAMPLES)).clip(-1, 1).astype("<f4")
        yield codec_pb2.PcmFrame(pcm_f32le=samples.tobytes(), frame_index=index)


def _code_frames(codes: Sequence[Sequence[int]]) -> list[codec_pb2.CodeFrame]:
    return [codec_pb2.CodeFrame(codes=of, frame_index=index) for index, of in enumerate(codes)]


async def _all(call: Any) -> list[Any]:
    return [reply async for reply in call]

"""`python -m benchmarks.personas`: how long a call takes to open without a prompt, with a kept and with a new one.

Calls of a whole cluster on this machine, from the caller's `start` to the gateway's `started`, one after the other, the
three kinds in turns. The checkpoint is random, of the size that is named.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import grpc

from benchmarks.machine import machine
from benchmarks.offline.table import markdown
from benchmarks.online.quantiles import quantile
from benchmarks.personas.checkpoint import VOICE, make_persona_checkpoint
from moshi_cluster.audio.frame import MODEL_RATE_HZ
from moshi_cluster.clients.telephony.stream import ConverseStream
from moshi_cluster.cluster.local_cluster import Layout, LocalCluster
from moshi_cluster.tools.checkpoint_sizes import LM_CONFIGS
from moshi_cluster.v1 import common_pb2, gateway_pb2, lm_pb2, lm_pb2_grpc

LIMIT_MS = 50.0
"""How much longer a call with a kept prompt may take than one without."""
_NONE, _KEPT, _NEW = "none", "kept", "new"
_FORMAT = gateway_pb2.AudioFormat(encoding=gateway_pb2.ENCODING_PCM_S16LE, sample_rate_hz=MODEL_RATE_HZ)
_PATIENCE_S = 30.0
_SPACERS_FRAMES = 12


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and prints a table; 1 if a kept prompt takes longer than it may."""
    chosen = _parser().parse_args(arguments)
    print(json.dumps(machine() | {"size": chosen.size, "rounds": chosen.rounds}))
    with tempfile.TemporaryDirectory() as folder:
        make_persona_checkpoint(Path(folder), chosen.size, chosen.frames - _SPACERS_FRAMES)
        with LocalCluster(Layout(folder, slots=4)) as cluster:
            frames = asyncio.run(prompt_frames(cluster.address("lm-0")))
            opened_ms = asyncio.run(measure(cluster.address(), chosen.rounds))
    print(table(frames, opened_ms))
    more_ms = statistics.median(opened_ms[_KEPT]) - statistics.median(opened_ms[_NONE])
    print(f"\na kept prompt takes {more_ms:.1f} ms more than none; {LIMIT_MS:g} ms are allowed")
    return int(more_ms > LIMIT_MS)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.personas", description=__doc__)
    parser.add_argument("--size", choices=sorted(LM_CONFIGS), default="middle", help="of the random checkpoint")
    parser.add_argument("--frames", type=int, default=400, help="of the prompt, its text not counted")
    parser.add_argument("--rounds", type=int, default=20, help="calls of each kind")
    return parser


async def prompt_frames(lm: str) -> int:
    """Frames of the prompt, as the lm counts them."""
    async with grpc.aio.insecure_channel(lm) as channel:
        call = lm_pb2_grpc.LmStub(channel).Generate()
        opening = lm_pb2.GenerateRequest.Open(persona=_persona("teacher"), sampling=common_pb2.Sampling(seed=1))
        await call.write(lm_pb2.GenerateRequest(open=opening))
        async with asyncio.timeout(_PATIENCE_S):
            frames: int = (await call.read()).opened.prefilled_frames
        call.cancel()
        return frames


async def measure(gateway: str, rounds: int) -> dict[str, list[float]]:
    """Milliseconds from `start` to `started`, by kind of prompt."""
    opened_ms: dict[str, list[float]] = {_NONE: [], _KEPT: [], _NEW: []}
    async with grpc.aio.insecure_channel(gateway) as channel:
        await _open_ms(channel, _persona("teacher"))  # which is kept from now on
        for number in range(rounds):
            personas = {_NONE: common_pb2.Persona(), _KEPT: _persona("teacher"), _NEW: _persona(_another(number))}
            for kind, persona in personas.items():
                opened_ms[kind].append(await _open_ms(channel, persona))
    return opened_ms


async def _open_ms(channel: grpc.aio.Channel, persona: common_pb2.Persona) -> float:
    stream, started_s, took_ms = ConverseStream(channel, patience_s=_PATIENCE_S), time.monotonic(), math.nan
    start = gateway_pb2.Start(input_format=_FORMAT, persona=persona)
    await stream.write(gateway_pb2.ConverseRequest(start=start).SerializeToString())
    async for message in stream.messages():
        if message.HasField("started"):
            took_ms = 1000 * (time.monotonic() - started_s)
            await stream.half_close()
    return took_ms


def _another(number: int) -> str:
    """A role for each number, of the same length in tokens: letters, which the tokenizer has."""
    return f"teacher {chr(ord('a') + number % 26)} {chr(ord('a') + number // 26 % 26)}"


def _persona(role: str) -> common_pb2.Persona:
    return common_pb2.Persona(text_prompt=f"you are a {role}", voice=VOICE)


def table(frames: int, opened_ms: dict[str, list[float]]) -> str:
    """In markdown."""
    rows = [
        [kind, str(0 if kind == _NONE else frames), *(f"{quantile(values, share):.1f}" for share in (0.0, 0.5, 0.99))]
        for kind, values in opened_ms.items()
    ]
    return markdown(["prompt", "frames", "started after ms: least", "p50", "p99"], rows)


if __name__ == "__main__":
    sys.exit(main())

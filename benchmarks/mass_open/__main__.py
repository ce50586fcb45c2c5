"""`python -m benchmarks.mass_open`: sessions with long histories open at once on an lm that has live ones.

As when an lm is lost and its calls go on on another: how long they wait, and what it costs those who talk there.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass

import grpc

from benchmarks.machine import machine
from benchmarks.mass_open.sessions import LmSession
from benchmarks.offline.table import markdown
from benchmarks.online.quantiles import quantile
from moshi_cluster.audio.frame import FRAME_S
from moshi_cluster.cluster.default_checkpoint import DEFAULT_CHECKPOINT
from moshi_cluster.cluster.local_cluster import Layout, LocalCluster
from moshi_cluster.services.common.code_shape import CodeShape
from moshi_cluster.services.common.mux.client import MuxClient
from moshi_cluster.services.common.rpc import channel_options
from moshi_cluster.v1 import worker_pb2, worker_pb2_grpc

_MAX_MESSAGE_BYTES = 64 << 20
_LATE_S = FRAME_S
_PATIENCE_S = 30.0


@dataclass(frozen=True)
class Run:
    """One round: live sessions before, while and after others open, in seconds."""

    before: Sequence[float]  # answers
    during: Sequence[float]
    after: Sequence[float]
    opened: Sequence[float]  # from the request to ready, of each that opened


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and prints a table."""
    chosen = _parser().parse_args(arguments)
    layout = Layout(str(chosen.checkpoint), codec_workers=0, gateways=0, slots=chosen.live + chosen.opening)
    print(json.dumps(machine()))
    environment = dict(setting.split("=", 1) for setting in chosen.set)
    with LocalCluster(layout, environment) as cluster:
        histories = [frames for frames in chosen.history for _ in range(chosen.rounds)]
        runs = asyncio.run(_measure_all(cluster.address("lm-0"), chosen, histories))
    head = ["history frames", "ready: first s", "median", "last", "live before: p50 ms", "p99"]
    head += ["during: p50", "p99", "max", "late"]
    print(markdown(head, [_cells(frames, run) for frames, run in zip(histories, runs, strict=True)]))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mass_open", description=__doc__)
    parser.add_argument("--checkpoint", default=DEFAULT_CHECKPOINT, metavar="FOLDER")
    parser.add_argument("--live", type=int, default=8, metavar="SESSIONS")
    parser.add_argument("--opening", type=int, default=16, metavar="SESSIONS")
    parser.add_argument("--history", type=int, nargs="+", default=[0, 125, 375], metavar="FRAMES")
    parser.add_argument("--seconds", type=float, default=8.0, help="before and after the opening")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="variables of the worker")
    return parser


async def _measure_all(address: str, chosen: argparse.Namespace, histories: Sequence[int]) -> list[Run]:
    return [await _measure(address, chosen, frames) for frames in histories]


async def _measure(address: str, chosen: argparse.Namespace, history_frames: int) -> Run:
    async with grpc.aio.insecure_channel(address, options=channel_options(_MAX_MESSAGE_BYTES)) as channel:
        codes = await _codes_once_idle(channel)
        mux = MuxClient(channel, "lm", address)
        live = [LmSession(mux, codes, seed) for seed in range(chosen.live)]
        opening = [LmSession(mux, codes, chosen.live + seed) for seed in range(chosen.opening)]
        try:
            return await _run(live, opening, history_frames, chosen.seconds)
        finally:
            await mux.close()


async def _run(live: list[LmSession], opening: list[LmSession], history_frames: int, seconds: float) -> Run:
    over = asyncio.Event()
    for session in live:
        await session.open(0)
    talking = [asyncio.create_task(session.talk(first_s, over)) for session, first_s in _spread(live)]
    await asyncio.sleep(seconds)
    begun_s = time.monotonic()

    async def join(session: LmSession) -> float:
        ready_after_s = await session.open(history_frames)
        talking.append(asyncio.create_task(session.talk(time.monotonic(), over)))
        return ready_after_s

    opened = await asyncio.gather(*map(join, opening))
    ready_s = time.monotonic()
    await asyncio.sleep(seconds)
    over.set()
    await asyncio.gather(*talking)
    answers = [answer for session in live for answer in session.answers]
    return Run(
        [took_s for sent_s, took_s in answers if sent_s < begun_s - 1],
        [took_s for sent_s, took_s in answers if begun_s <= sent_s + took_s and sent_s < ready_s],
        [took_s for sent_s, took_s in answers if sent_s >= ready_s],
        opened,
    )


def _spread(sessions: list[LmSession]) -> list[tuple[LmSession, float]]:
    """Sessions with their first moments, over one frame's time."""
    now_s = time.monotonic()
    return [(session, now_s + FRAME_S * index / len(sessions)) for index, session in enumerate(sessions)]


async def _codes_once_idle(channel: grpc.aio.Channel) -> CodeShape:
    """What the worker speaks, once it has freed the slots of the round before."""
    watch = worker_pb2_grpc.WorkerStub(channel).WatchCapacity(worker_pb2.WatchCapacityRequest())
    async with asyncio.timeout(_PATIENCE_S):
        while (state := await watch.read()).slots_used:
            pass
    watch.cancel()
    return CodeShape(state.user_codebooks, state.moshi_codebooks, state.codebook_size)


def _cells(history_frames: int, run: Run) -> list[str]:
    before, during = ([1000 * each for each in values] for values in (run.before, run.during))
    times = [min(run.opened), quantile(run.opened, 0.5), max(run.opened)]
    shares = [quantile(before, q) for q in (0.5, 0.99)] + [quantile(during, q) for q in (0.5, 0.99, 1.0)]
    late = sum(took_s > _LATE_S for took_s in run.during)
    cells = [f"{second:.2f}" for second in times] + [f"{ms:.0f}" for ms in shares]
    return [str(history_frames), *cells, f"{late} of {len(run.during)}"]


if __name__ == "__main__":
    main()

"""Whole calls through the real processes."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from moshi_cluster.clients.cli.recording import DEMO_UTTERANCE
from moshi_cluster.clients.telephony.wire_formats import samples_in
from moshi_cluster.cluster.local_cluster import LocalCluster
from moshi_cluster.v1 import gateway_pb2
from moshi_cluster.v1.common_pb2 import Sampling
from tests.cluster.callers import FRAME_S, GREEDY, Line, call, open_call, slots_used, until
from tests.cluster.conftest import SLOTS

pytestmark = pytest.mark.cluster

LINES = [
    Line("s16le", 24_000),
    Line("f32le", 24_000),
    Line("s16le", 8_000),
    Line("f32le", 8_000),
    Line("mulaw", 8_000),
    Line("alaw", 8_000),
    Line("s16be", 16_000),
    Line("g722", 16_000),
]


async def test_eight_callers_of_mixed_formats_get_an_answer_to_every_frame(cluster: LocalCluster) -> None:
    frames = 50
    replies = await asyncio.gather(
        *(call(cluster.address(), line, frames * FRAME_S, 0.3 * index) for index, line in enumerate(LINES))
    )
    for line, reply in zip(LINES, replies, strict=True):
        assert reply.ended is not None
        counters = reply.ended.counters
        assert reply.ended.reason == gateway_pb2.Ended.REASON_HANGUP
        assert (counters.frames_in, counters.frames_out) == (frames, frames)
        assert counters.frames_filled == counters.frames_dropped == counters.reply_frames_dropped == 0
        samples = round(frames * FRAME_S * line.rate_hz)
        assert (counters.samples_in, counters.samples_out) == (samples, samples)
        assert samples_in(len(reply.audio), line.audio_format.encoding) == samples


async def test_a_call_sounds_the_same_alone_and_in_company(cluster: LocalCluster) -> None:
    alone = await call(cluster.address(), LINES[0], 2.0)
    company = [call(cluster.address(), line, 3.0, 0.7) for line in LINES[1:]]
    among_others, *_ = await asyncio.gather(call(cluster.address(), LINES[0], 2.0), *company)
    assert among_others.audio == alone.audio
    assert among_others.text == alone.text


async def test_a_call_that_names_no_sampling_is_as_greedy_as_the_demo_model_says(cluster: LocalCluster) -> None:
    silent = [call(cluster.address(), LINES[0], 4.0, sampling=Sampling(seed=seed)) for seed in (1, 2)]
    greedy, *others = await asyncio.gather(call(cluster.address(), LINES[0], 4.0, sampling=GREEDY), *silent)
    assert greedy.text
    assert [reply.text for reply in others] == [greedy.text] * 2
    assert [reply.audio for reply in others] == [greedy.audio] * 2


async def test_the_ninth_caller_of_eight_slots_is_told_when_to_try_again(cluster: LocalCluster) -> None:
    await _until_idle(cluster)
    async with grpc.aio.insecure_channel(cluster.address()) as channel:
        calls = [await open_call(channel, LINES[0]) for _ in range(SLOTS)]
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await open_call(channel, LINES[0])
        assert refusal.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        status = rpc_status.from_call(refusal.value)
        retry = error_details_pb2.RetryInfo()
        assert status is not None and status.details[0].Unpack(retry)
        assert retry.retry_delay.ToMilliseconds() > 0
        for each in calls:
            each.cancel()
    await _until_idle(cluster)


async def test_a_killed_callers_slots_are_free_before_any_timeout(cluster: LocalCluster, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "moshi_cluster", "converse", "--target", cluster.address()]
    command += ["--input", str(DEMO_UTTERANCE), "--output", str(tmp_path / "reply.wav")]
    caller = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        await until(lambda: slots_used(cluster, 1))
    finally:
        caller.kill()
        await caller.wait()
    await until(lambda: slots_used(cluster, 0))


async def _until_idle(cluster: LocalCluster) -> None:
    await until(lambda: slots_used(cluster, 0))

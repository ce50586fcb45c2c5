"""Workers that stand still, stop before their calls do, or have another model: callers hear of it, in words."""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from prometheus_client.parser import text_string_to_metric_families

from moshi_cluster.cluster.latency_table import scrape
from moshi_cluster.cluster.local_cluster import Layout, LocalCluster
from moshi_cluster.v1 import gateway_pb2
from tests.cluster.callers import Line, capacity, open_call, until
from tests.cluster.conftest import PATIENT
from tests.golden_set import golden_dir

pytestmark = pytest.mark.cluster

LINE = Line("mulaw", 8_000)
GO_AWAY = gateway_pb2.Event.KIND_GO_AWAY


async def end_of(call: grpc.aio.StreamStreamCall) -> tuple[list[gateway_pb2.ConverseResponse], grpc.aio.AioRpcError]:
    """What a call that is not hung up still sends, and the status that it ends with."""
    messages = []
    try:
        while (message := await call.read()) is not grpc.aio.EOF:
            messages.append(message)
    except grpc.aio.AioRpcError as error:
        return messages, error
    raise AssertionError("the call ended well")


def retry_after_ms(error: grpc.aio.AioRpcError) -> int:
    retry = error_details_pb2.RetryInfo()
    status = rpc_status.from_call(error)
    assert status is not None and status.details[0].Unpack(retry)
    return int(retry.retry_delay.ToMilliseconds())


async def until_free(cluster: LocalCluster, name: str) -> None:
    """Returns once a worker holds no session."""

    async def is_free() -> bool:
        async with grpc.aio.insecure_channel(cluster.address(name)) as channel:
            return not (await capacity(channel)).slots_used

    await until(is_free)


def metric(cluster: LocalCluster, name: str, **labels: str) -> float:
    families = text_string_to_metric_families(scrape(cluster.metrics_url("gateway-0")))
    values = [s.value for family in families for s in family.samples if (s.name, s.labels) == (name, labels)]
    return values[0] if values else 0.0


@pytest.mark.parametrize(("frozen", "other", "hops"), [("lm-0", "codec-0", "lm"), ("codec-0", "lm-0", "encode decode")])
async def test_the_calls_of_a_frozen_worker_end_at_once_and_it_serves_again_when_it_goes_on(
    cluster: LocalCluster, frozen: str, other: str, hops: str
) -> None:
    async with grpc.aio.insecure_channel(cluster.address()) as channel:
        calls = [await open_call(channel, LINE) for _ in range(2)]
        cluster.signal(frozen, signal.SIGSTOP)
        try:
            for call in calls:
                _, error = await end_of(call)  # the caller's own limit of a minute is far away
                assert error.code() is grpc.StatusCode.UNAVAILABLE
                assert (error.details() or "").split(":")[0] in hops.split()
                assert (error.details() or "").endswith(f": the {frozen[:-2]} worker is lost")
                assert retry_after_ms(error) > 0
            await until_free(cluster, other)
            with pytest.raises(grpc.aio.AioRpcError, match=f"no {frozen[:-2]} worker is within reach"):
                await open_call(channel, LINE)
        finally:
            cluster.signal(frozen, signal.SIGCONT)

        async def serves() -> bool:
            return metric(cluster, "moshi_gateway_workers", service=frozen[:-2]) == 1

        await until(serves)
        await until_free(cluster, frozen)
        (await open_call(channel, LINE)).cancel()


@pytest.fixture
def hasty_cluster(checkpoint: Path) -> Iterator[LocalCluster]:
    """Workers that give their calls a few seconds when they are stopped."""
    grace = {"MOSHI_CODEC_DRAIN_GRACE_S": "4", "MOSHI_LM_DRAIN_GRACE_S": "4"}
    with LocalCluster(Layout(str(checkpoint), slots=2), PATIENT | grace) as running:
        yield running


@pytest.mark.parametrize("name", ["lm-0", "codec-0"])
async def test_a_call_that_outlasts_its_workers_stop_is_told_before_and_ends_as_unavailable(
    hasty_cluster: LocalCluster, name: str
) -> None:
    async with grpc.aio.insecure_channel(hasty_cluster.address()) as channel:
        call = await open_call(channel, LINE)
        hasty_cluster.signal(name, signal.SIGTERM)
        messages, error = await end_of(call)
    (notice,) = [m.event.detail for m in messages if m.HasField("event") and m.event.kind == GO_AWAY]
    told = re.fullmatch(rf"the {name[:-2]} worker stops: the call ends in (\S+) s", notice)
    assert told is not None and 0 < float(told[1]) <= 4, notice
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert (error.details() or "").endswith(": the worker stops, and the time to finish is over")
    assert retry_after_ms(error) > 0
    assert hasty_cluster.wait(name, timeout_s=10) == 0


async def test_a_codec_of_another_checkpoint_gets_no_calls_and_the_operator_is_told(checkpoint: Path) -> None:
    golden = golden_dir()
    foreign = {
        "MOSHI_CODEC_CONFIG": str(golden / "lm_tiny/config.json"),
        "MOSHI_CODEC_MIMI_WEIGHTS": str(golden / "mimi_tiny/mimi.safetensors"),
        "MOSHI_CODEC_MIMI_CONFIG": str(golden / "mimi_tiny/mimi_config.json"),
    }
    cluster = LocalCluster(Layout(str(checkpoint), slots=2), PATIENT | foreign)
    try:
        cluster.start()

        async def both_are_known() -> bool:
            cluster.check()
            with contextlib.suppress(OSError):  # it does not listen yet
                return all(
                    metric(cluster, "moshi_gateway_workers_unfit", service=each) == 1 for each in ("codec", "lm")
                )
            return False

        await until(both_are_known)
        assert not cluster.process("gateway-0").serving
        async with grpc.aio.insecure_channel(cluster.address()) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await open_call(channel, LINE)
        assert error.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "the codec and the lm workers have different checkpoints" in (error.value.details() or "")
        for service in ("codec", "lm"):
            assert metric(cluster, "moshi_gateway_workers", service=service) == 0
        assert await asyncio.to_thread(cluster.process("gateway-0").logged, "do not fit each other")
        told = [line for line in cluster.process("gateway-0").log_lines() if "do not fit each other" in line]
        assert len(told) == 1
        assert all(cluster.address(name) in told[0] for name in ("codec-0", "lm-0"))
    finally:
        cluster.stop()

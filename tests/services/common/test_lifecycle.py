"""The order in which a process comes up and goes down, and the exit codes."""

from __future__ import annotations

import asyncio
import gc
import os
import re
import signal
import socket
import urllib.request
import weakref
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from prometheus_client import CollectorRegistry

from moshi_cluster.services.common import lifecycle, probe, stop_signals
from moshi_cluster.services.common.listening import with_port
from moshi_cluster.services.common.readiness import Readiness
from moshi_cluster.services.common.rpc import server_options
from moshi_cluster.services.common.settings import SettingError
from moshi_cluster.services.gateway.api import tls
from moshi_cluster.v1 import codec_pb2_grpc, worker_pb2, worker_pb2_grpc
from tests.services.fake_workers import FakeCodec, pcm_frame
from tests.services.in_process import PATIENCE_S, eventually, few_turns, read, read_all, status_of

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
GRACE_S = 30.0  # beyond any test


class Script:
    """A service whose loading and sessions the test ends, and that notes what is asked of it."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.loaded = asyncio.Event()
        self.idle = asyncio.Event()
        self.readiness = Readiness()
        self.failed: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
        self.live_sessions = 1

    def register(self, server: grpc.aio.Server) -> Sequence[str]:
        return ["test.Test"]

    async def start(self) -> None:
        self.asked.append("start")
        try:
            await self.loaded.wait()
        except asyncio.CancelledError:
            self.asked.append("start cancelled")
            raise

    def drain(self, grace_s: float) -> None:
        self.asked.append(f"drain {grace_s:g}")

    async def until_idle(self) -> None:
        await self.idle.wait()
        self.asked.append("idle")

    async def stop(self) -> None:
        self.asked.append("stop")


class Process:
    """`serve` running in the test's own loop."""

    def __init__(self, exit_code: asyncio.Task[int], target: str, metrics_port: int, channel: grpc.aio.Channel) -> None:
        self.exit_code = exit_code
        self.target = target
        self.port = int(target.rpartition(":")[2])
        self.metrics_port = metrics_port
        self.channel = channel

    async def health(self, name: str = "") -> Any:
        stub = health_pb2_grpc.HealthStub(self.channel)
        return (await stub.Check(health_pb2.HealthCheckRequest(service=name))).status

    async def until_health(self, status: int) -> None:
        watch = health_pb2_grpc.HealthStub(self.channel).Watch(health_pb2.HealthCheckRequest())
        async with asyncio.timeout(PATIENCE_S):
            while (await read(watch)).status != status:
                pass
        watch.cancel()


StartProcess = Callable[..., AbstractAsyncContextManager[Process]]


@pytest.fixture
def process(caplog: pytest.LogCaptureFixture) -> StartProcess:
    """Starts `serve` around a service; ends it with the context."""
    caplog.set_level("INFO", "moshi_cluster.services.common.lifecycle")

    def ports() -> list[int]:
        found = re.search(r"listening name=test port=(\d+) .*metrics_port=(\d+)", caplog.text)
        return [int(port) for port in found.groups()] if found else []

    @asynccontextmanager
    async def started(
        service: lifecycle.Service,
        grace_s: float = GRACE_S,
        credentials: grpc.ServerCredentials | None = None,
        collect_interval_s: float = 60.0,
        host: str = "127.0.0.1",
        attached: bool = False,
    ) -> AsyncIterator[Process]:
        options = server_options(1 << 20, 64)
        endpoint = lifecycle.Endpoint("MOSHI_TEST_", host, 0, 0, grace_s, options, credentials, attached)
        serving = lifecycle.serve(lambda: service, "test", endpoint, CollectorRegistry(), collect_interval_s)
        task = asyncio.create_task(serving)
        await eventually(lambda: bool(ports()) or task.done())
        port, metrics_port = ports()
        target = with_port("::1" if host == "::" else host, port)
        async with grpc.aio.insecure_channel(target) as channel:
            try:
                yield Process(task, target, metrics_port, channel)
            finally:
                task.cancel()
                await asyncio.wait([task])

    return started


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


async def test_a_process_serves_only_once_it_has_loaded(process: StartProcess) -> None:
    service = Script()
    async with process(service) as running:
        for name in ("", "test.Test"):
            assert await running.health(name) == NOT_SERVING
        service.loaded.set()
        await running.until_health(SERVING)
        assert await running.health("test.Test") == SERVING
        service.idle.set()
        terminate()
        assert await running.exit_code == 0


async def test_health_follows_a_service_that_cannot_serve_for_a_while(process: StartProcess) -> None:
    service = Script()
    service.loaded.set()
    service.idle.set()
    async with process(service) as running:
        await running.until_health(SERVING)
        for ready, status in ((False, NOT_SERVING), (True, SERVING), (False, NOT_SERVING)):
            service.readiness.set(ready)
            await running.until_health(status)
            assert await running.health("test.Test") == status
        terminate()
        assert await running.exit_code == 0


async def test_a_signal_drains_before_it_stops(process: StartProcess) -> None:
    service = Script()
    service.loaded.set()
    async with process(service) as running:
        await running.until_health(SERVING)
        terminate()
        await running.until_health(NOT_SERVING)
        await eventually(lambda: "drain 30" in service.asked)
        assert not running.exit_code.done()
        service.idle.set()
        assert await running.exit_code == 0
        assert service.asked == ["start", "drain 30", "idle", "stop"]


async def test_an_interrupt_is_a_signal_too(process: StartProcess) -> None:
    service = Script()
    service.loaded.set()
    service.idle.set()
    async with process(service) as running:
        await running.until_health(SERVING)
        os.kill(os.getpid(), signal.SIGINT)
        assert await running.exit_code == 0


async def test_a_terminal_that_closes_drains_and_its_second_signal_changes_nothing(process: StartProcess) -> None:
    service = Script()
    service.loaded.set()
    async with process(service) as running:
        await running.until_health(SERVING)
        os.kill(os.getpid(), signal.SIGHUP)
        await eventually(lambda: "drain 30" in service.asked)
        for number in (signal.SIGHUP, signal.SIGTERM):
            os.kill(os.getpid(), number)
            await few_turns()
        assert not running.exit_code.done()
        service.idle.set()
        assert await running.exit_code == 0
        assert service.asked == ["start", "drain 30", "idle", "stop"]


async def test_an_attached_process_drains_when_its_standard_input_ends(
    process: StartProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = Script()
    service.loaded.set()
    stdin, held = os.pipe()
    monkeypatch.setattr(stop_signals, "_STDIN", stdin)
    try:
        async with process(service, attached=True) as running:
            await running.until_health(SERVING)
            os.write(held, b"what is said there means nothing")
            await few_turns()
            assert service.asked == ["start"]
            os.close(held)
            await eventually(lambda: "drain 30" in service.asked)
            service.idle.set()
            assert await running.exit_code == 0
    finally:
        os.close(stdin)


async def test_an_attached_process_whose_standard_input_has_ended_does_not_even_load(
    process: StartProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = Script()
    stdin, held = os.pipe()
    os.close(held)
    monkeypatch.setattr(stop_signals, "_STDIN", stdin)
    try:
        async with process(service, attached=True) as running:
            assert await running.exit_code == 0
            assert service.asked == ["start", "start cancelled", "stop"]
    finally:
        os.close(stdin)


async def test_a_standard_input_that_another_process_has_read_has_not_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    stdin, held = os.pipe()
    os.set_blocking(stdin, False)
    monkeypatch.setattr(stop_signals, "_STDIN", stdin)
    try:
        signals = stop_signals.StopSignals()
        signals.follow_stdin("MOSHI_TEST_")
        signals._on_stdin()
        assert not signals.stop.is_set()
        os.close(held)
        await signals.stop.wait()
    finally:
        os.close(stdin)


@pytest.mark.parametrize("what", [os.devnull, "/dev/ptmx", __file__])
async def test_a_process_cannot_be_attached_to_what_is_no_pipe(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stdin = os.open(what, os.O_RDWR | os.O_NOCTTY if what.startswith("/dev") else os.O_RDONLY)
    monkeypatch.setattr(stop_signals, "_STDIN", stdin)
    options = server_options(1 << 20, 64)
    endpoint = lifecycle.Endpoint("MOSHI_TEST_", "127.0.0.1", 0, 0, GRACE_S, options, attached=True)
    try:
        with pytest.raises(SettingError, match="MOSHI_TEST_ATTACHED: standard input is no pipe"):
            await lifecycle.serve(Script, "test", endpoint, CollectorRegistry())
    finally:
        os.close(stdin)


async def test_a_process_of_nohup_survives_its_terminal(process: StartProcess) -> None:
    service = Script()
    service.loaded.set()
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        async with process(service) as running:
            await running.until_health(SERVING)
            os.kill(os.getpid(), signal.SIGHUP)
            await few_turns()
            assert service.asked == ["start"]
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_who_asks_twice_waits_for_no_session(process: StartProcess, number: signal.Signals) -> None:
    service = Script()
    service.loaded.set()
    async with process(service) as running:
        await running.until_health(SERVING)
        os.kill(os.getpid(), number)
        await eventually(lambda: "drain 30" in service.asked)
        os.kill(os.getpid(), number)
        assert await running.exit_code == 0
        assert service.asked == ["start", "drain 30", "drain 0", "stop"]


async def test_sessions_have_no_more_than_the_grace(process: StartProcess) -> None:
    service = Script()
    service.loaded.set()
    async with process(service, grace_s=0.05) as running:
        await running.until_health(SERVING)
        terminate()
        assert await running.exit_code == 0
        assert service.asked == ["start", "drain 0.05", "drain 0", "stop"]


async def test_a_signal_while_loading_ends_the_load(process: StartProcess) -> None:
    service = Script()
    async with process(service) as running:
        await running.health()
        terminate()
        assert await running.exit_code == 0
        assert service.asked == ["start", "start cancelled", "stop"]


async def test_a_failure_ends_the_process_at_once_with_its_own_code(process: StartProcess) -> None:
    service = Script()
    service.loaded.set()
    async with process(service) as running:
        await running.until_health(SERVING)
        service.failed.set_result(RuntimeError("device lost"))
        assert await running.exit_code == lifecycle.EXIT_ENGINE_FAILED == 70
        assert service.asked == ["start", "stop"]


async def test_a_failure_in_the_middle_of_a_drain_is_not_waited_out(process: StartProcess) -> None:
    service = Script()
    service.loaded.set()
    async with process(service) as running:
        await running.until_health(SERVING)
        terminate()
        await eventually(lambda: "drain 30" in service.asked)
        service.failed.set_result(RuntimeError("device lost"))
        assert await running.exit_code == lifecycle.EXIT_ENGINE_FAILED
        assert service.asked == ["start", "drain 30", "stop"]


async def test_a_service_that_cannot_load_is_stopped_and_the_reason_is_logged(
    process: StartProcess, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Script):
        async def start(self) -> None:
            raise FileNotFoundError("no such checkpoint")

    service = Broken()
    async with process(service) as running:
        assert await running.exit_code == lifecycle.EXIT_CANNOT_START
        assert service.asked == ["stop"]
    assert "no such checkpoint" in caplog.text


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "::"])
async def test_a_taken_port_is_said_before_anything_is_made(host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as taken:
        port = taken.getsockname()[1]
        for setting, ports in (("PORT", (port, 0)), ("METRICS_PORT", (0, port))):
            endpoint = lifecycle.Endpoint("MOSHI_TEST_", host, *ports, GRACE_S, server_options(1 << 20, 64))
            with pytest.raises(SettingError, match=f"^MOSHI_TEST_{setting}: cannot listen on .*: the port is taken$"):
                await lifecycle.serve(Script, "test", endpoint, CollectorRegistry())


async def test_a_setting_that_is_found_wrong_while_loading_is_the_operators_to_read(process: StartProcess) -> None:
    class Wrong(Script):
        async def start(self) -> None:
            raise SettingError("MOSHI_TEST_HTTP_PORT: cannot listen on [::1]:80: the port is taken")

    service = Wrong()
    async with process(service) as running:
        with pytest.raises(SettingError, match="HTTP_PORT"):
            await running.exit_code
        assert service.asked == ["stop"]


@pytest.mark.parametrize("host", ["::", "::1"])
async def test_it_serves_over_ipv6(process: StartProcess, host: str) -> None:
    service = Script()
    service.loaded.set()
    async with process(service, host=host) as running:
        await running.until_health(SERVING)
        for target in ("[::1]", *(("127.0.0.1",) if host == "::" else ())):
            assert await asyncio.to_thread(probe.is_serving, f"{target}:{running.port}", PATIENCE_S)
            url = f"http://{target}:{running.metrics_port}/metrics"
            assert (
                await asyncio.to_thread(lambda url=url: urllib.request.urlopen(url, timeout=PATIENCE_S).status) == 200
            )


async def test_reflection_lists_every_service(process: StartProcess) -> None:
    async with process(Script()) as running:
        stub = reflection_pb2_grpc.ServerReflectionStub(running.channel)
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        (reply,) = await read_all(stub.ServerReflectionInfo(iter([request])))
        names = {service.name for service in reply.list_services_response.service}
        assert names >= {"test.Test", "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection"}


async def test_the_probe_tells_serving_from_loading(process: StartProcess) -> None:
    service = Script()
    async with process(service) as running:
        await running.health()
        assert not await asyncio.to_thread(probe.is_serving, running.target)
        service.loaded.set()
        await running.until_health(SERVING)
        assert await asyncio.to_thread(probe.is_serving, running.target, PATIENCE_S)
    assert not await asyncio.to_thread(probe.is_serving, running.target, 0.2)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "usage: python -m services.common.probe"),
        (["[::1]:1", "/no/certificate.pem"], "error: /no/certificate.pem cannot be read: No such file or directory"),
    ],
)
def test_the_probe_says_in_one_line_what_it_cannot_use(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert probe.main(arguments) == 1
    error = capsys.readouterr().err
    assert error.startswith(said)
    assert error.count("\n") == 1


async def test_an_encrypted_port_serves_those_who_trust_it(process: StartProcess, tmp_path: Path) -> None:
    credentials = tls.grpc_credentials(tmp_path, self_signed=True)
    service = Script()
    service.loaded.set()
    async with process(service, credentials=credentials) as running:
        certificate = tmp_path / tls.CERTIFICATE
        await eventually(lambda: "start" in service.asked)
        for name in (None, "localhost"):
            assert await asyncio.to_thread(probe.is_serving, running.target, PATIENCE_S, certificate, name)
        assert not await asyncio.to_thread(probe.is_serving, running.target, 1.0, certificate, "elsewhere.test")


async def test_a_worker_drains_with_its_last_stream(process: StartProcess, nothing_swallowed: None) -> None:
    codec = FakeCodec()
    async with process(codec) as running:
        await running.until_health(SERVING)
        stream = codec_pb2_grpc.CodecStub(running.channel).Encode()
        await stream.write(pcm_frame(0))
        await read(stream)
        watch = worker_pb2_grpc.WorkerStub(running.channel).WatchCapacity(worker_pb2.WatchCapacityRequest())
        await read(watch)
        terminate()
        await running.until_health(NOT_SERVING)
        await stream.write(pcm_frame(1))
        assert (await read(stream)).frame_index == 1
        await few_turns()
        assert not running.exit_code.done()
        await stream.done_writing()
        assert await read_all(stream) == []
        assert await status_of(watch) == (grpc.StatusCode.UNAVAILABLE, "the worker is stopping")
        assert await running.exit_code == 0


async def test_a_worker_that_is_watched_ends_once_its_last_watch_does(
    process: StartProcess, nothing_swallowed: None
) -> None:
    async with process(FakeCodec(drain_linger_s=GRACE_S), grace_s=2 * GRACE_S) as running:
        await running.until_health(SERVING)
        watch = worker_pb2_grpc.WorkerStub(running.channel).WatchCapacity(worker_pb2.WatchCapacityRequest())
        await read(watch)
        terminate()
        while not (state := await read(watch)).draining:
            pass
        assert GRACE_S - 5 < state.linger_ms / 1000 <= GRACE_S < state.grace_ms / 1000
        stream = codec_pb2_grpc.CodecStub(running.channel).Encode()
        await stream.write(pcm_frame(0))
        assert (await read(stream)).frame_index == 0, "it takes new sessions"
        watch.cancel()
        await few_turns()
        assert not running.exit_code.done()
        await stream.done_writing()
        assert await read_all(stream) == []
        assert await running.exit_code == 0


async def test_a_stream_that_outlives_the_grace_ends_as_unavailable(
    process: StartProcess, nothing_swallowed: None
) -> None:
    codec = FakeCodec()
    async with process(codec, grace_s=0.05) as running:
        await running.until_health(SERVING)
        stream = codec_pb2_grpc.CodecStub(running.channel).Encode()
        await stream.initial_metadata()
        terminate()
        text = "the worker stops, and the time to finish is over"
        assert await status_of(stream) == (grpc.StatusCode.UNAVAILABLE, text)
        assert await running.exit_code == 0


async def test_an_engine_failure_ends_a_worker_with_its_own_code(process: StartProcess) -> None:
    codec = FakeCodec()
    async with process(codec) as running:
        await running.until_health(SERVING)
        codec.encoder.failure = RuntimeError("device lost")
        stream = codec_pb2_grpc.CodecStub(running.channel).Encode()
        await stream.write(pcm_frame(0))
        assert (await status_of(stream))[0] == grpc.StatusCode.INTERNAL
        assert await running.exit_code == lifecycle.EXIT_ENGINE_FAILED


async def test_what_ended_calls_leave_in_circles_does_not_pile_up(
    process: StartProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Circle:
        def __init__(self) -> None:
            self.itself = self

    monkeypatch.setattr(gc, "freeze", lambda: None)  # the test's own objects stay mortal
    service = Script()
    service.loaded.set()
    gc.disable()
    try:
        async with process(service, collect_interval_s=0.01) as running:
            await running.until_health(SERVING)
            left = weakref.ref(Circle())
            await eventually(lambda: left() is None)
    finally:
        gc.enable()

"""The life of a process, in one visible order.

start:  metrics -> gRPC server, NOT_SERVING -> load and warm -> SERVING, and NOT_SERVING while it is not ready;
        a signal before SERVING ends the process at once, whatever is half done
stop:   signal, or the end of stdin where the process is attached to it
        -> NOT_SERVING -> refuse new sessions, tell live ones -> they finish or move -> stop server, service
fail:   NOT_SERVING -> stop server, service -> exit code of its own; at once, also in the middle of a stop
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import grpc
import uvloop
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from prometheus_client import CollectorRegistry

from moshi_cluster.services.common import reflection
from moshi_cluster.services.common.listening import cannot_listen, check_port, with_port
from moshi_cluster.services.common.metrics import MetricsEndpoint
from moshi_cluster.services.common.process_metrics import ProcessMetrics
from moshi_cluster.services.common.readiness import Readiness
from moshi_cluster.services.common.rpc import Options
from moshi_cluster.services.common.settings import SettingError
from moshi_cluster.services.common.stop_signals import StopSignals

T = TypeVar("T")

_log = logging.getLogger(__name__)
_STOP_GRACE_S = 1.0
EXIT_ENGINE_FAILED = 70  # EX_SOFTWARE
EXIT_CANNOT_START = 1


class Service(Protocol):
    """What a process serves."""

    def register(self, server: grpc.aio.Server) -> Sequence[str]:
        """Adds the servicers; returns the full names of the services."""

    async def start(self) -> None:
        """Loads and warms; returns when sessions can be served."""

    @property
    def failed(self) -> asyncio.Future[BaseException]:
        """Resolves when the service can no longer serve and the process must exit."""

    @property
    def readiness(self) -> Readiness:
        """Whether it can serve, once it has started."""

    @property
    def live_sessions(self) -> int:
        """Sessions that are not over yet."""

    def drain(self, grace_s: float) -> None:
        """Refuses new sessions and tells the live ones that they have `grace_s` left, after which they are ended with a
        status. Called again with 0 for those that are left.
        """

    async def until_idle(self) -> None:
        """Returns once no session is left."""

    async def stop(self) -> None:
        """Frees everything."""


@dataclass(frozen=True)
class Endpoint:
    """Where a process listens and how long it may take to stop."""

    prefix: str
    """Of the settings that the rest is from, for an error's message."""
    host: str
    port: int
    metrics_port: int
    drain_grace_s: float
    options: Options
    credentials: grpc.ServerCredentials | None = None  # None: not encrypted
    attached: bool = False
    """Stops when standard input ends: when whoever has the other end of that pipe closes it or ends, also by a kill."""


def run(make_service: Callable[[], Service], name: str, endpoint: Endpoint, registry: CollectorRegistry) -> int:
    """Runs a service until a signal or its failure; returns the process's exit code.

    make_service: called inside the event loop. Raises SettingError, also for a port that cannot be had.
    """
    return uvloop.run(serve(make_service, name, endpoint, registry))


async def serve(
    make_service: Callable[[], Service],
    name: str,
    endpoint: Endpoint,
    registry: CollectorRegistry,
    collect_interval_s: float = 5.0,
) -> int:
    """The coroutine behind `run`. collect_interval_s: between two collections of garbage."""
    process = ProcessMetrics(name, registry)
    async with _task(process.watch_loop()):
        return await _serve(make_service, name, endpoint, registry, collect_interval_s, process)


async def _serve(
    make_service: Callable[[], Service],
    name: str,
    endpoint: Endpoint,
    registry: CollectorRegistry,
    collect_interval_s: float,
    process: ProcessMetrics,
) -> int:
    with MetricsEndpoint(endpoint.host, endpoint.metrics_port, registry, endpoint.prefix) as metrics:
        server = grpc.aio.server(options=endpoint.options)
        port = _listen(server, endpoint)
        service = make_service()  # imports what is large: until then a signal ends the process as it ends any other
        signals = StopSignals()
        if endpoint.attached:
            signals.follow_stdin(endpoint.prefix)
        health_servicer = health.aio.HealthServicer()
        names = ["", *_register(server, service, health_servicer)]
        await _set_health(health_servicer, names, health_pb2.HealthCheckResponse.NOT_SERVING)
        await server.start()
        tls = endpoint.credentials is not None
        _log.info("listening name=%s port=%d tls=%s metrics_port=%d", name, port, tls, metrics.port)
        try:
            if (exit_code := await _start(service, signals.stop)) is not None:
                return exit_code
            _settle_garbage()
            await _set_health(health_servicer, names, health_pb2.HealthCheckResponse.SERVING)
            process.state("serving")
            _log.info("serving name=%s", name)
            following = _follow_readiness(service.readiness, health_servicer, names, process)
            async with _task(_collect_garbage(collect_interval_s)), _task(following):
                await _first_of(signals.stop, service.failed)

            await _set_health(health_servicer, names, health_pb2.HealthCheckResponse.NOT_SERVING)
            if not service.failed.done():
                process.draining(endpoint.drain_grace_s)
                await _drain(service, endpoint.drain_grace_s, signals.stop_now)
            if service.failed.done():
                process.state("failed")
                _log.error("exiting: the service failed")
                return EXIT_ENGINE_FAILED
            return 0
        finally:
            await server.stop(_STOP_GRACE_S)
            await service.stop()
            _log.info("stopped name=%s", name)


async def _start(service: Service, stop_requested: asyncio.Event) -> int | None:
    """Loads and warms; the exit code where that is already the end. Raises SettingError."""
    try:
        return None if await _finished_first(service.start(), stop_requested) else 0
    except SettingError:
        raise
    except Exception as error:
        # A bad checkpoint is the usual reason; its message is for the operator, the traceback for us.
        _log.error("cannot start: %s: %s", type(error).__name__, error)
        _log.debug("cannot start", exc_info=True)
        return EXIT_CANNOT_START


def _settle_garbage() -> None:
    """What was loaded stays: a full collection that walks over it again would stop every call for tens of ms."""
    gc.collect()
    gc.freeze()


async def _collect_garbage(interval_s: float) -> None:
    """What ended calls leave in circles goes at once: the collector itself counts allocations, of which a service makes
    few more than it gives back, and came by after hundreds of calls. With all that was loaded left out, a full
    collection of a gateway with 16 calls takes about a millisecond.
    """
    while True:
        await asyncio.sleep(interval_s)
        gc.collect()


async def _follow_readiness(
    readiness: Readiness, servicer: health.aio.HealthServicer, names: list[str], process: ProcessMetrics
) -> None:
    async for ready in readiness.changes():
        process.state("serving" if ready else "away")
        _log.warning("serving again" if ready else "not serving for now")
        status = health_pb2.HealthCheckResponse.SERVING if ready else health_pb2.HealthCheckResponse.NOT_SERVING
        await _set_health(servicer, names, status)


def _register(server: grpc.aio.Server, service: Service, health_servicer: health.aio.HealthServicer) -> list[str]:
    names = list(service.register(server))
    health_pb2_grpc.add_HealthServicer_to_server(health_servicer, server)
    reflection.enable((*names, health.SERVICE_NAME), server)
    return names


def _listen(server: grpc.aio.Server, endpoint: Endpoint) -> int:
    """Returns the port. Raises SettingError when it cannot be had."""
    check_port(endpoint.host, endpoint.port, endpoint.prefix, "port")  # gRPC does not say what is wrong
    address = with_port(endpoint.host, endpoint.port)
    try:
        if endpoint.credentials is None:
            return int(server.add_insecure_port(address))
        return int(server.add_secure_port(address, endpoint.credentials))
    except RuntimeError:
        raise cannot_listen(endpoint.host, endpoint.port, "gRPC refuses it", f"{endpoint.prefix}PORT") from None


async def _set_health(servicer: health.aio.HealthServicer, names: list[str], status: int) -> None:
    for name in names:
        await servicer.set(name, status)


async def _finished_first(work: Coroutine[Any, Any, None], stop_requested: asyncio.Event) -> bool:
    """Runs `work`; False if the stop signal came first."""
    async with _task(work) as working, _task(stop_requested.wait()) as stop:
        await asyncio.wait((working, stop), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
        return working.done()


async def _first_of(stop_requested: asyncio.Event, failed: asyncio.Future[BaseException]) -> None:
    async with _task(stop_requested.wait()) as stop:
        await asyncio.wait((stop, failed), return_when=asyncio.FIRST_COMPLETED)


async def _drain(service: Service, grace_s: float, stop_now: asyncio.Event) -> None:
    """Until no session is left, the grace is over or somebody asks once more; a service that fails meanwhile has
    nothing left to wait for."""
    _log.info("draining sessions=%d grace_s=%g", service.live_sessions, grace_s)
    service.drain(grace_s)
    async with _task(service.until_idle()) as idle, _task(stop_now.wait()) as told_again:
        ends = (idle, told_again, service.failed)
        await asyncio.wait(ends, timeout=grace_s, return_when=asyncio.FIRST_COMPLETED)
        left = not (idle.done() or service.failed.done())
    if left:
        _log.warning("grace is over, ending sessions=%d", service.live_sessions)
        service.drain(0.0)


@contextlib.asynccontextmanager
async def _task(work: Coroutine[Any, Any, T]) -> AsyncIterator[asyncio.Task[T]]:
    """A task that is over when the context is."""
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait((task,))

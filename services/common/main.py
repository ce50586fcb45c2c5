"""The main program of every service: settings, logs, life."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import grpc
from prometheus_client import CollectorRegistry

from moshi_cluster.services.common import lifecycle, logs
from moshi_cluster.services.common.rpc import server_options
from moshi_cluster.services.common.settings import SettingError, describe, load

S = TypeVar("S")

# The engine thread gives up the interpreter at every torch call; while the event loop is busy it should not wait the
# usual 5 ms to get it back, forty times a step.
_SWITCH_INTERVAL_S = 0.0005


def run(
    name: str,
    settings_type: type[S],
    prefix: str,
    make_service: Callable[[S, CollectorRegistry], lifecycle.Service],
    max_message_bytes: Callable[[S], int],
    max_streams: Callable[[S], int],
    credentials: Callable[[S], grpc.ServerCredentials | None] = lambda settings: None,
) -> int:
    """Runs the service called `name` until it stops; returns the exit code (2 for a bad setting)."""
    try:
        settings: Any = load(settings_type, prefix)
        endpoint = lifecycle.Endpoint(
            host=settings.host,
            port=settings.port,
            metrics_port=settings.metrics_port,
            drain_grace_s=settings.drain_grace_s,
            options=server_options(max_message_bytes(settings), max_streams(settings)),
            credentials=credentials(settings),
        )
        logs.configure(name, settings.log_level)
        logging.getLogger(__name__).info("settings %s", describe(settings))
        sys.setswitchinterval(_SWITCH_INTERVAL_S)
        registry = CollectorRegistry()
        status = lifecycle.run(lambda: make_service(settings, registry), name, endpoint, registry)
    except SettingError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 2
    if status == lifecycle.EXIT_ENGINE_FAILED:
        # A thread that hangs in a device's driver could keep the interpreter from ending.
        logging.shutdown()
        os._exit(status)
    return status

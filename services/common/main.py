"""The main program of every service: settings, logs, life."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import grpc
from prometheus_client import CollectorRegistry

from moshi_cluster.services.common import lifecycle
from moshi_cluster.services.common.certificates import CertificateMetrics
from moshi_cluster.services.common.json_lines import JsonFormatter
from moshi_cluster.services.common.logs import OneLineFormatter, logging_to_stderr
from moshi_cluster.services.common.metrics import log_lines_dropped
from moshi_cluster.services.common.process_settings import ProcessSettings
from moshi_cluster.services.common.rpc import server_options
from moshi_cluster.services.common.settings import SettingError, describe, load

S = TypeVar("S", bound=ProcessSettings)

# The engine thread gives up the interpreter at every torch call; while the event loop is busy it should not wait the
# usual 5 ms to get it back, forty times a step.
_SWITCH_INTERVAL_S = 0.0005
EXIT_BAD_SETTING = 2
_STDERR = 2


def run(
    name: str,
    settings_type: type[S],
    prefix: str,
    make_service: Callable[[S, CollectorRegistry], lifecycle.Service],
    max_message_bytes: Callable[[S], int],
    max_streams: Callable[[S], int],
    credentials: Callable[[S], grpc.ServerCredentials | None] = lambda settings: None,
    certificates: Callable[[S], Mapping[str, Path]] = lambda settings: {},
) -> int:
    """Runs the service called `name` until it stops; returns the exit code (2 for a bad setting).

    certificates: those in use, by what for.
    """
    _occupy_standard_descriptors()
    registry = CollectorRegistry()
    try:
        settings = load(settings_type, prefix)
        endpoint = lifecycle.Endpoint(
            prefix=prefix,
            host=settings.host,
            port=settings.port,
            metrics_port=settings.metrics_port,
            drain_grace_s=settings.drain_grace_s,
            options=server_options(max_message_bytes(settings), max_streams(settings)),
            credentials=credentials(settings),
            attached=settings.attached,
        )
        CertificateMetrics(name, certificates(settings), registry)
        with logging_to_stderr(
            _formatter(name, settings.log_format), settings.log_level, log_lines_dropped(name, registry)
        ):
            logging.getLogger(__name__).info("settings %s", describe(settings))
            sys.setswitchinterval(_SWITCH_INTERVAL_S)
            status = lifecycle.run(lambda: make_service(settings, registry), name, endpoint, registry)
    except SettingError as error:
        with contextlib.suppress(OSError):  # nobody reads it
            print(f"{name}: {error}", file=sys.stderr)
        return EXIT_BAD_SETTING
    if status == lifecycle.EXIT_ENGINE_FAILED or threading.active_count() > 1:
        # One that still loads, or hangs in a device's driver, could keep the interpreter from ending.
        os._exit(status)
    return status


def _formatter(name: str, log_format: str) -> OneLineFormatter:
    return JsonFormatter(name) if log_format == "json" else OneLineFormatter(name)


def _occupy_standard_descriptors() -> None:
    """Where stdin, stdout or stderr was closed, nothing else gets its number: libraries write errors to number 2."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= _STDERR:
        pass
    os.close(descriptor)

"""Command `python -m services.gateway`: the public face of the cluster."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import grpc
from prometheus_client import CollectorRegistry

from moshi_cluster.services.common import main
from moshi_cluster.services.common.certificates import CERTIFICATE
from moshi_cluster.services.gateway.api import tls
from moshi_cluster.services.gateway.calls.manager import CallManager
from moshi_cluster.services.gateway.metrics import GatewayMetrics
from moshi_cluster.services.gateway.server import GatewayService
from moshi_cluster.services.gateway.settings import PREFIX, GatewaySettings

# gRPC ends a stream whose message is beyond its own limit as if the caller had gone; up to there the gateway says why.
_REFUSED_BY_NAME = 4
_SPARE_STREAMS = 64  # beyond the calls: refused calls get their status, and health checks fit


def _service(settings: GatewaySettings, registry: CollectorRegistry) -> GatewayService:
    return GatewayService(settings, CallManager(settings, GatewayMetrics(registry)))


def _credentials(settings: GatewaySettings) -> grpc.ServerCredentials | None:
    return tls.grpc_credentials(Path(settings.tls_dir), settings.tls_self_signed) if settings.grpc_tls else None


def _certificates(settings: GatewaySettings) -> dict[str, Path]:
    folders = {"public": (settings.tls_dir, tls.CERTIFICATE), "client": (settings.workers_mtls_dir, CERTIFICATE)}
    return {use: Path(folder) / name for use, (folder, name) in folders.items() if folder}


if __name__ == "__main__":
    # FFmpeg is large: loaded with the first Opus call, it would stop all others for that long.
    importlib.import_module("moshi_cluster.audio.opus")
    sys.exit(
        main.run(
            "gateway",
            GatewaySettings,
            PREFIX,
            _service,
            lambda settings: _REFUSED_BY_NAME * settings.max_message_bytes,
            lambda settings: settings.max_sessions + _SPARE_STREAMS,
            _credentials,
            _certificates,
        )
    )

"""`python -m services.codec`: a codec worker."""

from __future__ import annotations

import sys

from prometheus_client import CollectorRegistry

from moshi_cluster.services.codec.loading import load
from moshi_cluster.services.codec.server import CodecService
from moshi_cluster.services.codec.settings import PREFIX, CodecSettings
from moshi_cluster.services.common import main
from moshi_cluster.services.common.mux.buffers import max_bundle_bytes
from moshi_cluster.services.common.worker.metrics import EngineMetrics

_MAX_MESSAGE_BYTES = 64 * 1024
_SPARE_STREAMS = 64  # beyond the slots: refused streams get their status, and health and watches fit


def _service(settings: CodecSettings, registry: CollectorRegistry) -> CodecService:
    return CodecService(settings, lambda: load(settings), EngineMetrics("codec", registry))


if __name__ == "__main__":
    sys.exit(
        main.run(
            "codec",
            CodecSettings,
            PREFIX,
            _service,
            lambda settings: max_bundle_bytes(_MAX_MESSAGE_BYTES),
            lambda settings: 2 * settings.held_slots + _SPARE_STREAMS,
        )
    )

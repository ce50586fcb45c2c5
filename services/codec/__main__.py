"""`python -m services.codec`: a codec worker."""

from __future__ import annotations

import importlib.util
import logging
import sys
from pathlib import Path

from prometheus_client import CollectorRegistry

from moshi_cluster.services.codec.server import CodecService
from moshi_cluster.services.codec.settings import PREFIX, CodecSettings, check_backend, unused_settings
from moshi_cluster.services.common import main
from moshi_cluster.services.common.certificates import CERTIFICATE, worker_credentials
from moshi_cluster.services.common.mux.buffers import max_bundle_bytes
from moshi_cluster.services.common.settings import SettingError
from moshi_cluster.services.common.worker.metrics import EngineMetrics

_MAX_MESSAGE_BYTES = 64 * 1024
_SPARE_STREAMS = 64  # beyond the slots: refused streams get their status, and health and watches fit


def _service(settings: CodecSettings, registry: CollectorRegistry) -> CodecService:
    check_backend(settings)
    metrics = EngineMetrics("codec", registry)
    return _in_triton(settings, metrics, registry) if settings.backend == "triton" else _in_process(settings, metrics)


def _in_process(settings: CodecSettings, metrics: EngineMetrics) -> CodecService:
    from moshi_cluster.services.codec.loading import load  # brings PyTorch, which the other backend does without

    return CodecService(settings, lambda: load(settings), metrics)


def _in_triton(settings: CodecSettings, metrics: EngineMetrics, registry: CollectorRegistry) -> CodecService:
    if importlib.util.find_spec("tritonclient") is None:
        raise SettingError(f"{PREFIX}BACKEND: triton needs the package tritonclient[grpc], the extra `triton`")
    if unused := ", ".join(unused_settings(settings)):
        logging.getLogger(__name__).warning("of no use with the backend triton: %s", unused)
    from moshi_cluster.services.codec.triton.metrics import TritonMetrics
    from moshi_cluster.services.codec.triton.service import TritonCodecService

    return TritonCodecService(settings, metrics, TritonMetrics(registry))


if __name__ == "__main__":
    sys.exit(
        main.run(
            "codec",
            CodecSettings,
            PREFIX,
            _service,
            lambda settings: max_bundle_bytes(_MAX_MESSAGE_BYTES),
            lambda settings: 2 * settings.most_slots + _SPARE_STREAMS,
            lambda settings: worker_credentials(settings.mtls_dir, f"{PREFIX}MTLS_DIR"),
            lambda settings: {"server": Path(settings.mtls_dir) / CERTIFICATE} if settings.mtls_dir else {},
        )
    )

"""`python -m services.lm`: an lm worker."""

from __future__ import annotations

import sys
from pathlib import Path

from prometheus_client import CollectorRegistry

from moshi_cluster.services.common import main
from moshi_cluster.services.common.certificates import CERTIFICATE, worker_credentials
from moshi_cluster.services.common.mux.buffers import max_bundle_bytes
from moshi_cluster.services.lm.loading import load
from moshi_cluster.services.lm.metrics import LmMetrics
from moshi_cluster.services.lm.server import LmModel, LmService
from moshi_cluster.services.lm.settings import MOST_SLOTS, PREFIX, LmSettings

_BASE_MESSAGE_BYTES = 64 * 1024
_HISTORY_FRAME_BYTES = 80  # 17 varints of at most 3 bytes, tags and lengths
_SPARE_STREAMS = 64  # beyond the slots: refused streams get their status, and health and watches fit


def _service(settings: LmSettings, registry: CollectorRegistry) -> LmService:
    metrics = LmMetrics(registry)

    def load_model() -> LmModel:
        model = load(settings)
        metrics.prompt_cache = model.prompt_cache
        return model

    return LmService(settings, load_model, metrics)


if __name__ == "__main__":
    sys.exit(
        main.run(
            "lm",
            LmSettings,
            PREFIX,
            _service,
            lambda settings: max_bundle_bytes(_BASE_MESSAGE_BYTES + _HISTORY_FRAME_BYTES * settings.max_history_frames),
            lambda settings: (settings.slots or MOST_SLOTS) + _SPARE_STREAMS,
            lambda settings: worker_credentials(settings.mtls_dir, f"{PREFIX}MTLS_DIR"),
            lambda settings: {"server": Path(settings.mtls_dir) / CERTIFICATE} if settings.mtls_dir else {},
        )
    )

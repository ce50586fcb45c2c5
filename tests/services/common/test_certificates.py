"""When certificates end, as /metrics says it."""

from __future__ import annotations

import time
from pathlib import Path

from prometheus_client import CollectorRegistry

from moshi_cluster.services.common.certificates import CertificateMetrics
from tests.services.authority import Authority

NAME = "moshi_lm_certificate_end_timestamp_seconds"


def test_the_end_of_a_certificate_is_that_of_the_file_now(tmp_path: Path) -> None:
    registry, authority = CollectorRegistry(), Authority()
    used = {"server": authority.issue(tmp_path, "lm", days=3) / "tls.crt"}
    CertificateMetrics("lm", used, registry)
    for days in 3, 30:
        authority.issue(tmp_path, "lm", days=days)
        end_s = registry.get_sample_value(NAME, {"use": "server"})
        assert end_s is not None and abs(end_s - time.time() - days * 86400) < 3600


def test_a_file_that_is_gone_has_ended(tmp_path: Path) -> None:
    registry = CollectorRegistry()
    CertificateMetrics("lm", {"server": tmp_path / "tls.crt"}, registry)
    assert registry.get_sample_value(NAME, {"use": "server"}) == 0


def test_without_a_certificate_there_is_no_end() -> None:
    registry = CollectorRegistry()
    CertificateMetrics("lm", {}, registry)
    assert not [sample for family in registry.collect() for sample in family.samples]

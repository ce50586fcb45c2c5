"""Certificates of this process: read from a folder, for gRPC servers and channels, renewed without a restart."""

from __future__ import annotations

import datetime
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import grpc
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from moshi_cluster.services.common.reloaded import Reloaded
from moshi_cluster.services.common.settings import SettingError

CERTIFICATE, KEY, AUTHORITY = "tls.crt", "tls.key", "ca.crt"  # as Kubernetes' Secrets and cert-manager call them


@dataclass(frozen=True)
class Pair:
    """A certificate with its key, PEM, and the authority that peers' certificates must be of; None: none is asked."""

    certificate: bytes
    key: bytes
    authority: bytes | None = None


def mutual_tls(folder: str, variable: str) -> Reloaded[Pair]:
    """The folder's tls.crt, tls.key and ca.crt. Raises SettingError, naming the variable."""
    certificate, key, authority = paths = [Path(folder) / name for name in (CERTIFICATE, KEY, AUTHORITY)]

    def read() -> Pair:
        try:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate, key, password=lambda: "")  # gRPC would take any bytes
            context.load_verify_locations(authority)
            return Pair(certificate.read_bytes(), key.read_bytes(), authority.read_bytes())
        except (OSError, ssl.SSLError) as error:
            raise SettingError(f"{variable}: no usable {', '.join(path.name for path in paths)}: {error}") from None

    return Reloaded(paths, read)


def server_credentials(pair: Reloaded[Pair]) -> grpc.ServerCredentials:
    """For a port that has the pair of the moment; peers show a certificate where the pair has an authority."""
    shown = pair.get()

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        """Asked before each handshake, by a thread of gRPC's. None: as before."""
        nonlocal shown
        if (now := pair.get()) is shown:
            return None
        shown = now
        return _configuration(now)

    return grpc.dynamic_ssl_server_credentials(_configuration(shown), fetch, shown.authority is not None)


def channel_credentials(pair: Pair) -> grpc.ChannelCredentials:
    """For a channel to a port whose certificate is of the pair's authority, to which the pair's own is shown."""
    return grpc.ssl_channel_credentials(pair.authority, pair.key, pair.certificate)


def worker_credentials(folder: str, variable: str) -> grpc.ServerCredentials | None:
    """Of a worker's port; None without a folder: not encrypted. Raises SettingError."""
    return server_credentials(mutual_tls(folder, variable)) if folder else None


class CertificateMetrics(Collector):
    """When the certificates in use end, as their files say when Prometheus asks."""

    def __init__(self, service: str, used: Mapping[str, Path], registry: CollectorRegistry) -> None:
        """used: files by what they are for."""
        self._name = f"moshi_{service}_certificate_end_timestamp_seconds"
        self._used = used
        registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """Read when Prometheus asks."""
        text = "When a certificate that is used ends, in Unix time; 0 for a file that cannot be read."
        family = GaugeMetricFamily(self._name, text, labels=["use"])
        for use, path in self._used.items():
            family.add_metric([use], _end_s(path))
        yield family


def _configuration(pair: Pair) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(pair.key, pair.certificate)], pair.authority)


def _end_s(path: Path) -> float:
    from cryptography import x509  # only who has certificates needs it

    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError):
        return 0.0
    return certificate.not_valid_after_utc.astimezone(datetime.UTC).timestamp()

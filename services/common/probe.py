"""`python -m services.common.probe HOST:PORT [CERTIFICATE [NAME]]` exits 0 when the gRPC health there is SERVING.

For container checks. CERTIFICATE: a PEM file with what to trust, where the port is encrypted; NAME: the one in it,
where that is not HOST. A worker that asks for certificates is shown the pair in the folder CERTIFICATE (tls.crt,
tls.key, ca.crt).
"""

from __future__ import annotations

import sys
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from moshi_cluster.services.common.certificates import channel_credentials, mutual_tls
from moshi_cluster.services.common.rpc import DIRECT
from moshi_cluster.services.common.settings import SettingError


def is_serving(target: str, timeout_s: float = 3.0, certificate: Path | None = None, name: str | None = None) -> bool:
    """Whether the process at host:port reports SERVING within the timeout."""
    with _channel(target, certificate, name) as channel:
        try:
            reply = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=timeout_s)
        except grpc.RpcError:
            return False
        return bool(reply.status == health_pb2.HealthCheckResponse.SERVING)


def _channel(target: str, certificate: Path | None, name: str | None) -> grpc.Channel:
    if certificate is None:
        return grpc.insecure_channel(target, DIRECT)
    options = [*DIRECT, *([("grpc.ssl_target_name_override", name)] if name else [])]
    if certificate.is_dir():
        return grpc.secure_channel(
            target, channel_credentials(mutual_tls(str(certificate), "CERTIFICATE").get()), options
        )
    return grpc.secure_channel(target, grpc.ssl_channel_credentials(certificate.read_bytes()), options)


def main(arguments: list[str]) -> int:
    """Runs the program; the exit code is 0 for SERVING, otherwise 1."""
    if not 1 <= len(arguments) <= 3:
        print("usage: python -m services.common.probe HOST:PORT [CERTIFICATE [NAME]]", file=sys.stderr)
        return 1
    target, certificate, name = [*arguments, None, None][:3]
    try:
        return 0 if is_serving(target or "", certificate=Path(certificate) if certificate else None, name=name) else 1
    except OSError as error:
        print(f"error: {certificate} cannot be read: {error.strerror}", file=sys.stderr)
        return 1
    except SettingError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

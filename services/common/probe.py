"""`python -m services.common.probe HOST:PORT` exits 0 when the gRPC health there is SERVING, for container checks."""

from __future__ import annotations

import sys

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc


def is_serving(target: str, timeout_s: float = 3.0) -> bool:
    """Whether the process at host:port reports SERVING within the timeout."""
    with grpc.insecure_channel(target) as channel:
        try:
            reply = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=timeout_s)
        except grpc.RpcError:
            return False
        return bool(reply.status == health_pb2.HealthCheckResponse.SERVING)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m services.common.probe HOST:PORT")
    sys.exit(0 if is_serving(sys.argv[1]) else 1)

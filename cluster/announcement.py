"""Where a cluster can be reached, for people and for programs."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator

from moshi_cluster.cluster.default_checkpoint import DEFAULT_CHECKPOINT
from moshi_cluster.cluster.local_cluster import LocalCluster
from moshi_cluster.cluster.process import ANY_ADDRESS, ServiceProcess
from moshi_cluster.services.common.listening import with_port
from moshi_cluster.services.lm.settings import LmSettings

_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_TUNNEL = r"public address=(\S+);"  # as the gateway logs it
_TOLD_AT = ("debug", "info")


def for_programs(cluster: LocalCluster) -> str:
    """One line of JSON: `http`, the URL of the page, and `grpc`, host:port of the gateway."""
    return json.dumps({"http": cluster.http_url(), "grpc": cluster.address()})


def for_people(cluster: LocalCluster) -> str:
    """Addresses as one would type them, and who can use them."""
    gateway = cluster.process("gateway-0")
    rows = [("model", _model(cluster.process("lm-0").settings)), *(("page", page) for page in _pages(gateway))]
    grpc = with_port(_host(gateway), gateway.settings.port)
    rows.append(("gRPC", f"{grpc} (TLS)" if gateway.settings.grpc_tls else grpc))
    rows += [(f"metrics of {name}", cluster.metrics_url(name)) for name in cluster.names]
    rows += [("", hint) for hint in _hints(gateway)]
    width = max(len(label) for label, _ in rows)
    return "\n".join(["", *(f"  {label:<{width}}  {text}" for label, text in rows), ""])


def _model(settings: LmSettings) -> str:
    source = settings.hf_repo or settings.checkpoint
    return f"{'the demo model' if source == str(DEFAULT_CHECKPOINT) else source} on {settings.device}"


def _pages(gateway: ServiceProcess) -> Iterator[str]:
    settings = gateway.settings
    if settings.http:
        yield f"{'https' if settings.tls_dir else 'http'}://{with_port(_host(gateway), settings.http_port)}"
    if settings.gradio_tunnel and settings.log_level in _TOLD_AT and (found := gateway.logged(_TUNNEL)):
        yield f"{found[1]} (public)"


def _host(gateway: ServiceProcess) -> str:
    host: str = gateway.settings.host
    if host in _LOOPBACK:
        return "localhost"
    return socket.gethostname() if host in ANY_ADDRESS else host


def _hints(gateway: ServiceProcess) -> Iterator[str]:
    settings = gateway.settings
    if settings.host in _LOOPBACK:
        yield "Only this machine can call; --host 0.0.0.0 lets others in. Ctrl-C stops everything."
        return
    if settings.http and not settings.tls_dir:
        yield "On other machines browsers give their microphone to https pages only: --tls-dir tls --tls-self-signed."
    if not settings.token_file:
        yield "Nobody is asked for a token: MOSHI_GATEWAY_TOKEN_FILE names a file of them."

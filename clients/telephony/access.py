"""Access to a gateway: TLS, the authority to trust, a token."""

from __future__ import annotations

import ipaddress
import re
import ssl
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from moshi_cluster.clients.telephony.errors import BadInput

_TOKEN = re.compile(r"[!-~]+")
_DIRECT = (("grpc.enable_http_proxy", 0),)  # this machine is never behind the environment's proxy
_KEEPALIVE = (
    ("grpc.keepalive_time_ms", 10_000),  # gateways take a ping every 5 s
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.ping_timeout_ms", 5_000),  # what gRPC goes by; alone, the option above leaves it at a minute
    ("grpc.http2.max_pings_without_data", 0),
)
"""A gateway that stands still, or a network that is cut, ends the call after 15 s."""


@dataclass(frozen=True)
class Access:
    """What a client shows a gateway, and whom it trusts."""

    tls: bool = False
    ca_file: Path | None = None  # of the authority to trust instead of the system's
    token: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Raises BadInput for a token that no header can carry; libraries would show it."""
        if self.token and not _TOKEN.fullmatch(self.token):
            raise BadInput("token: expected printable ASCII without spaces")

    def grpc_channel(self, target: str) -> grpc.aio.Channel:
        """A channel to host:port; a gateway that is gone is noticed. Raises BadInput for an unreadable certificate."""
        options = (*_KEEPALIVE, *(_DIRECT if _is_loopback(target) else ()))
        if not self.tls:
            return grpc.aio.insecure_channel(target, options)
        roots = None
        if self.ca_file is not None:
            self.ssl_context()  # says what is wrong with the file; gRPC does not
            roots = self.ca_file.read_bytes()
        return grpc.aio.secure_channel(target, grpc.ssl_channel_credentials(roots), options)

    def headers(self) -> tuple[tuple[str, str], ...]:
        """What a call shows, as headers or as metadata: the token, where there is one."""
        return (("authorization", f"Bearer {self.token}"),) if self.token else ()

    def ssl_context(self) -> ssl.SSLContext:
        """The TLS settings for HTTPS and WebSockets. Raises BadInput when the certificate cannot be read."""
        try:
            return ssl.create_default_context(cafile=self.ca_file)
        except (OSError, ssl.SSLError) as error:
            raise BadInput(f"{self.ca_file}: no usable certificate ({error})") from error


OPEN = Access()
"""For a gateway that asks for nothing."""


def _is_loopback(target: str) -> bool:
    host = target.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

"""How a client reaches a gateway that is not open to everybody: TLS and a token."""

from __future__ import annotations

import argparse
import os
import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc

from moshi_cluster.clients.cli.errors import BadInput

TOKEN_VARIABLE = "MOSHI_TOKEN"


@dataclass(frozen=True)
class Access:
    """What to show and whom to trust."""

    tls: bool = False
    ca_file: Path | None = None  # of the authority to trust instead of the system's
    token: str | None = None

    def grpc_channel(self, target: str) -> grpc.aio.Channel:
        """A channel to host:port. Raises BadInput when the certificate cannot be read."""
        if not self.tls:
            return grpc.aio.insecure_channel(target)
        roots = None
        if self.ca_file is not None:
            self.ssl_context()  # says what is wrong with the file; gRPC does not
            roots = self.ca_file.read_bytes()
        return grpc.aio.secure_channel(target, grpc.ssl_channel_credentials(roots))

    def grpc_metadata(self) -> tuple[tuple[str, str], ...]:
        """What goes beside a call."""
        return (("authorization", f"Bearer {self.token}"),) if self.token else ()

    def ssl_context(self) -> ssl.SSLContext:
        """For HTTPS. Raises BadInput when the certificate cannot be read."""
        try:
            return ssl.create_default_context(cafile=self.ca_file)
        except (OSError, ssl.SSLError) as error:
            raise BadInput(f"{self.ca_file}: no usable certificate ({error})") from error


OPEN = Access()
"""To a gateway that asks nothing."""


def add_access_options(command: argparse.ArgumentParser) -> None:
    """Adds --tls, --ca and --token."""
    group = command.add_argument_group("access")
    group.add_argument("--tls", action="store_true", help="encrypt; https:// and wss:// do so unasked")
    group.add_argument("--ca", type=Path, metavar="PEM", help="trust this authority, or self-signed certificate")
    group.add_argument(
        "--token",
        default=os.environ.get(TOKEN_VARIABLE),
        help=f"credentials, where the gateway asks for them; the variable {TOKEN_VARIABLE} keeps them out of sight",
    )


def access_of(arguments: argparse.Namespace) -> Access:
    """What they say."""
    return Access(arguments.tls, arguments.ca, arguments.token)

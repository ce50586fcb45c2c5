"""Options of the access to a gateway: --tls, --ca and --token."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from moshi_cluster.clients.telephony.access import Access

TOKEN_VARIABLE = "MOSHI_TOKEN"


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
    """The access that --tls, --ca and --token ask for."""
    return Access(arguments.tls, arguments.ca, arguments.token)

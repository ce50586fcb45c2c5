"""A public address for the HTTP port, relayed by Gradio: for showing a machine that nobody can reach."""

from __future__ import annotations

import importlib
import secrets

from moshi_cluster.services.common.daemon_thread import in_daemon_thread
from moshi_cluster.services.common.settings import SettingError


async def open_tunnel(port: int) -> str:
    """The https address at which everybody reaches this port until the process ends.

    Raises SettingError when the package is missing, RuntimeError when the relay does not answer.
    """
    return await in_daemon_thread(lambda: _open(port))


def _open(port: int) -> str:
    try:
        networking = importlib.import_module("gradio.networking")  # large, and few want it
    except ImportError:
        raise SettingError("MOSHI_GATEWAY_GRADIO_TUNNEL: needs the package gradio (pip install '.[tunnel]')") from None
    name = secrets.token_urlsafe(32)  # becomes part of the address, which nobody should guess
    address: str = networking.setup_tunnel("localhost", port, name, None, None)
    return address

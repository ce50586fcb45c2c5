"""A hub of checkpoints that takes connections and never answers: a download that does not end."""

from __future__ import annotations

import socket
from typing import Self

from moshi_cluster.cluster.ports import LOOPBACK


class SilentHub:
    """Listens while its context lasts."""

    def __enter__(self) -> Self:
        self._server = socket.create_server((LOOPBACK, 0))
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close()

    def environment(self, repository_variable: str) -> dict[str, str]:
        """Variables of a service that loads from here; the named one says which repository."""
        endpoint = f"http://{LOOPBACK}:{self._server.getsockname()[1]}"
        direct = dict.fromkeys(("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"), "")
        return {repository_variable: "nobody/nothing", "HF_ENDPOINT": endpoint, "NO_PROXY": LOOPBACK, **direct}

    def wait_until_asked(self, timeout_s: float) -> None:
        """Returns once somebody has connected. Raises TimeoutError."""
        self._server.settimeout(timeout_s)
        self._connection, _ = self._server.accept()

"""Session store of a run: Redis or Valkey on a free port of this machine, where one is installed."""

from __future__ import annotations

import base64
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from benchmarks.ending import end
from moshi_cluster.cluster.ports import LOOPBACK, free_ports
from moshi_cluster.services.gateway.settings import PREFIX

SERVERS = ("valkey-server", "redis-server")
_KEY_BYTES = 32
_STOP_TIMEOUT_S = 10.0


@contextmanager
def session_store() -> Iterator[Mapping[str, str]]:
    """Settings of the gateways that use it; none where neither server is installed."""
    server = next(filter(None, map(shutil.which, SERVERS)), None)
    if server is None:
        yield {}
        return
    with tempfile.TemporaryDirectory(prefix="moshi-store-") as folder, _serving(server, folder) as port:
        key_file = Path(folder) / "keys"
        key_file.write_text(base64.b64encode(secrets.token_bytes(_KEY_BYTES)).decode() + "\n")
        key_file.chmod(0o600)
        yield {
            f"{PREFIX}SESSION_STORE": f"redis://{LOOPBACK}:{port}/0",
            f"{PREFIX}SESSION_STORE_KEY_FILE": str(key_file),
        }


@contextmanager
def _serving(server: str, folder: str) -> Iterator[int]:
    """In memory alone: nothing is written to the folder."""
    (port,) = free_ports(1)
    command = [server, "--bind", LOOPBACK, "--port", str(port), "--save", "", "--appendonly", "no", "--dir", folder]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        yield port
    finally:
        end(process, _STOP_TIMEOUT_S)

"""What runs on this machine, as tests see it from outside."""

from __future__ import annotations

import socket
from pathlib import Path


def listening(address: str) -> bool:
    """Whether somebody accepts connections at host:port."""
    host, port = address.rsplit(":", 1)
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


def children_of(process_id: int) -> dict[int, str]:
    """The command lines of a process's children, by process id; read from /proc."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue  # it has ended
        if parent == process_id:
            found[int(folder.name)] = command
    return found

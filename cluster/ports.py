"""TCP ports of this machine that nobody uses."""

from __future__ import annotations

import contextlib
import random
import socket
from collections import deque
from contextlib import ExitStack

LOOPBACK = "127.0.0.1"
# Below those that systems give to outgoing connections, one of which would have it before it is listened on.
_PORTS = range(20_000, 32_000)
_ATTEMPTS = 100
_random = random.SystemRandom()  # programs that start at the same moment find different ones
_given: deque[int] = deque(maxlen=1000)  # this program's last ones: what is to listen there may only be starting


def free_ports(count: int) -> list[int]:
    """Different ones, also from those that this program was given lately. Raises OSError where none is found."""
    with ExitStack() as held:
        return [_hold_one(held) for _ in range(count)]


def _hold_one(held: ExitStack) -> int:
    for _ in range(_ATTEMPTS):
        port = _random.choice(_PORTS)
        if port in _given:
            continue
        with contextlib.suppress(OSError):  # somebody has it
            held.enter_context(socket.socket()).bind((LOOPBACK, port))
            _given.append(port)
            return port
    raise OSError(f"no free port from {_PORTS.start} to {_PORTS.stop}")

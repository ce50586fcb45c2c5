"""TCP ports of this machine that nobody uses."""

from __future__ import annotations

import random
import socket
from collections import deque

LOOPBACK = "127.0.0.1"
# Below those that systems give to outgoing connections, one of which would have it before it is listened on.
_PORTS = range(20_000, 32_000)
_ATTEMPTS = 100
_random = random.SystemRandom()  # programs that start at the same moment find different ones
_MOST_HELD = 300
_held: deque[socket.socket] = deque()


def free_ports(count: int) -> list[int]:
    """Different ones, which no other program is given while this one runs. Raises OSError where none is found.

    What is to listen there may take its time to start: a socket that is bound and does not listen keeps its place, for
    each of the last 300 ports.
    """
    return [_hold_one() for _ in range(count)]


def _hold_one() -> int:
    for _ in range(_ATTEMPTS):
        place = socket.socket()
        try:
            place.bind((LOOPBACK, port := _random.choice(_PORTS)))  # fails where another one listens or keeps a place
        except OSError:
            place.close()
            continue
        place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # from now on servers may bind it, who set it, too
        _held.append(place)
        if len(_held) > _MOST_HELD:
            _held.popleft().close()
        return port
    raise OSError(f"no free port from {_PORTS.start} to {_PORTS.stop}")

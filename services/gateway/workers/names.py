"""Names of workers: the addresses that a gateway's targets stand for."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Sequence

_log = logging.getLogger(__name__)
_NO_SUCH_NAME = (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME))


class TargetNames:
    """Looks targets up, and remembers what each stood for while the name service does not answer."""

    def __init__(self, targets: Sequence[str]) -> None:
        """targets: host:port; every address that a host resolves to is one."""
        self._addresses: dict[str, set[str]] = {target: set() for target in targets}
        self._problems: dict[str, str] = {}

    async def look_up(self) -> set[str]:
        """The addresses, host:port, that the targets stand for now."""
        for target in self._addresses:
            try:
                self._addresses[target] = await _addresses(target)
                self._problems.pop(target, None)
            except (OSError, UnicodeError) as error:
                self._note(target, error)
        return set().union(*self._addresses.values())

    def _note(self, target: str, error: Exception) -> None:
        """A name that is gone stands for nothing; a name service that fails says nothing about the name."""
        if isinstance(error, socket.gaierror) and error.errno in _NO_SUCH_NAME:
            self._addresses[target] = set()
        if self._problems.get(target) != str(error):
            self._problems[target] = str(error)
            _log.warning("cannot look up target=%s error=%s", target, error)


async def _addresses(target: str) -> set[str]:
    host, _, port = target.rpartition(":")
    found = await asyncio.get_running_loop().getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    if any(family == socket.AF_INET for family, *_ in found):  # a host with both would count twice
        found = [entry for entry in found if entry[0] == socket.AF_INET]
    names = {str(socket_address[0]) for *_, socket_address in found}
    return {f"[{name}]:{port}" if ":" in name else f"{name}:{port}" for name in names}

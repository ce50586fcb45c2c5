"""Addresses to listen on: IPv6 with or without brackets, and one line that names the setting when it cannot be."""

from __future__ import annotations

import errno
import os
import socket
from contextlib import ExitStack

from moshi_cluster.services.common.settings import SettingError

_EVERY_IPV4, _EVERY_ADDRESS = "0.0.0.0", "::"


class Host(str):
    """An address of this machine, or a name of it; IPv6 without the brackets that it may come in."""

    __slots__ = ()

    def __new__(cls, text: str) -> Host:
        """text: empty for every address."""
        bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
        return super().__new__(cls, bare or _EVERY_IPV4)


def with_port(host: str, port: int) -> str:
    """host:port, IPv6 in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def open_listeners(host: str, port: int, prefix: str, field: str) -> list[socket.socket]:
    """A listening socket for each address of a host, all on one port; port 0: a free one. `::` takes IPv4 as well.

    prefix, field: of the setting that the port is from, for example MOSHI_LM_ and metrics_port. Raises SettingError
    naming that one, or the host's.
    """
    with ExitStack() as held:
        listeners: list[socket.socket] = []
        for family, address in _addresses(host, prefix):
            free = listeners[0].getsockname()[1] if listeners and not port else port
            listener = _open(family, address, free, prefix, field)
            listeners.append(held.enter_context(listener))
        held.pop_all()
        return listeners


def check_port(host: str, port: int, prefix: str, field: str) -> None:
    """Raises SettingError where `open_listeners` would."""
    for listener in open_listeners(host, port, prefix, field):
        listener.close()


def cannot_listen(host: str, port: int, problem: str, setting: str) -> SettingError:
    """What an operator reads of a port that cannot be had."""
    return SettingError(f"{setting}: cannot listen on {with_port(host, port)}: {problem}")


def _addresses(host: str, prefix: str) -> list[tuple[socket.AddressFamily, str]]:
    """Families and addresses, each once."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise SettingError(f"{prefix}HOST: {host} is no address of this machine: {error.strerror}") from None
    except UnicodeError:
        raise SettingError(f"{prefix}HOST: {host!r} is no name") from None
    return list(dict.fromkeys((family, str(address[0])) for family, _, _, _, address in found))


def _open(family: socket.AddressFamily, address: str, port: int, prefix: str, field: str) -> socket.socket:
    both = family == socket.AF_INET6 and address == _EVERY_ADDRESS and socket.has_dualstack_ipv6()
    try:
        return socket.create_server((address, port), family=family, dualstack_ipv6=both)
    except OSError as error:
        of_host = error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
        setting = f"{prefix}{'HOST' if of_host else field.upper()}"
        problem = "the port is taken" if error.errno == errno.EADDRINUSE else os.strerror(error.errno or 0)
        raise cannot_listen(address, port, problem, setting) from None

"""Gateways as callers find them: those in rotation, one after the other, as a load balancer hands them out."""

from __future__ import annotations

from collections.abc import Mapping


class Gateways:
    """Names and addresses of the gateways that new calls go to."""

    def __init__(self, addresses: Mapping[str, str]) -> None:
        """addresses: host:port by name; all are in rotation."""
        self._addresses = dict(addresses)
        self._rotation = list(addresses)

    def next(self) -> str:
        """host:port of the gateway whose turn it is."""
        name = self._rotation.pop(0)
        self._rotation.append(name)
        return self._addresses[name]

    def other(self, address: str) -> str:
        """host:port of one that is not this one, as far as there is another."""
        others = [name for name in self._rotation if self._addresses[name] != address]
        return self._addresses[others[0]] if others else address

    def in_rotation(self, address: str) -> bool:
        """Whether new calls go there."""
        return address in [self._addresses[name] for name in self._rotation]

    def leave_out(self, name: str) -> None:
        """It gets no new calls, unless it is the last one."""
        if name in self._rotation and len(self._rotation) > 1:
            self._rotation.remove(name)

    def take_back(self, name: str) -> None:
        """It serves again."""
        if name in self._addresses and name not in self._rotation:
            self._rotation.append(name)

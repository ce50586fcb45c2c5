"""Trusted proxies: whose word is believed about the address of the client behind them."""

from __future__ import annotations

import ipaddress
import logging
import re
from collections.abc import Iterable

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_WITH_PORT = re.compile(r"\[([^\]]*)\](?::[0-9]{1,5})?|([^:]*):[0-9]{1,5}")

_log = logging.getLogger(__name__)


class TrustedProxies:
    """Addresses and networks of reverse proxies and load balancers; none by default."""

    def __init__(self, networks: Iterable[str] = ()) -> None:
        """networks: as `settings.trusted_proxies` has checked them."""
        self._networks = [ipaddress.ip_network(network) for network in networks]

    def trusts(self, address: str) -> bool:
        """Whether it is one of the proxies; False for what is no address."""
        known = parse_address(address)
        return known is not None and any(known in network for network in self._networks)

    def client(self, address: str, forwarded_for: Iterable[str]) -> str:
        """The client behind a connection: the nearest address that is no trusted proxy's.

        address: of who is connected, with or without a port. forwarded_for: the values of X-Forwarded-For, in order. A
        proxy adds on the right whom it saw, so what stands left of an address that is not trusted is anybody's word.
        """
        known = parse_address(address)
        if known is None:
            return address
        seen = [text for text in ",".join(forwarded_for).split(",") if text.strip()]
        while seen and self.trusts(str(known)):
            told = parse_address(seen.pop())
            if told is None:
                _log.warning("a trusted proxy names a client by what is no address: it counts as the client")
                break
            known = told
        return str(known)


def parse_address(text: str) -> Address | None:
    """The address in a text, without port, brackets and zone, as IPv4 where it is that; None where there is none."""
    text = text.strip()
    match = _WITH_PORT.fullmatch(text)
    try:
        address = ipaddress.ip_address(match[1] or match[2] if match else text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv4Address):
        return address
    return address.ipv4_mapped or ipaddress.IPv6Address(int(address))

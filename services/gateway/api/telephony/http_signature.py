"""Signatures of HTTP requests with a shared secret (RFC 9421, hmac-sha256), in the strict form that clients send.

A request has one signature. What is not written as the RFC's serialisation writes it is refused, so the text that was
signed is the header's own and nothing has to be written again.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from moshi_cluster.services.common.errors import Unauthenticated

_LABEL = r"([a-z*][a-z0-9_.*-]*)"
_COMPONENTS = r'\((?:"[a-z0-9@_-]+"(?: "[a-z0-9@_-]+")*)?\)'
_PARAMETERS = r'(?:;[a-z]+=(?:"[ !#-\[\]-~]*"|[0-9]{1,15}))*'
_INPUT = re.compile(rf"{_LABEL}=(({_COMPONENTS})({_PARAMETERS}))")
_PARAMETER = re.compile(r';([a-z]+)=(?:"([^"]*)"|([0-9]+))')
_SIGNATURE = re.compile(rf"{_LABEL}=:([A-Za-z0-9+/]+={{0,2}}):")


@dataclass(frozen=True)
class HttpSignature:
    """The signature of a request, as it claims to be."""

    components: Sequence[str]
    """What it covers, in order: names of headers in small letters, and derived ones that begin with @."""
    parameters: Mapping[str, str]
    """keyid, nonce, alg, created, expires: those that were given."""
    _signed_parameters: str
    _signature: bytes

    @classmethod
    def of(cls, headers: Mapping[str, str]) -> HttpSignature:
        """What the headers claim. Raises Unauthenticated where they claim nothing, or not in that form."""
        given = _INPUT.fullmatch(headers.get("Signature-Input", "").strip())
        signature = _SIGNATURE.fullmatch(headers.get("Signature", "").strip())
        if given is None or signature is None or given[1] != signature[1]:
            raise Unauthenticated("the request is not signed, or not in a form that is known")
        components = re.findall(r'"([^"]+)"', given[3])
        parameters = {name: text or number for name, text, number in _PARAMETER.findall(given[4])}
        if len(set(components)) < len(components):
            raise Unauthenticated("the request's signature covers something twice")
        try:
            return cls(components, parameters, given[2], base64.b64decode(signature[2], validate=True))
        except binascii.Error:
            raise Unauthenticated("the request's signature is no base64") from None

    def is_by(self, secret: bytes, values: Mapping[str, str]) -> bool:
        """Whether who has the secret signed these values of the components. Takes as long whoever did."""
        if not all(name in values for name in self.components):
            return False
        lines = [f'"{name}": {values[name]}' for name in self.components]
        base = "\n".join([*lines, f'"@signature-params": {self._signed_parameters}'])
        expected = hmac.digest(secret, base.encode("utf-8", "surrogateescape"), "sha256")
        return hmac.compare_digest(expected, self._signature)

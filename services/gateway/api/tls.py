"""The certificate of the public ports, HTTP and gRPC."""

from __future__ import annotations

import datetime
import ipaddress
import os
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import grpc

from moshi_cluster.services.common.certificates import Pair, server_credentials
from moshi_cluster.services.common.reloaded import Reloaded
from moshi_cluster.services.common.settings import SettingError

T = TypeVar("T")

CERTIFICATE, KEY = "cert.pem", "key.pem"
_VALID_DAYS = 397  # browsers take no more


def context_of(folder: Path, self_signed: bool) -> ssl.SSLContext:
    """What the folder's pair gives for HTTPS. self_signed: makes one where there is none. Raises SettingError."""
    certificate, key = folder / CERTIFICATE, folder / KEY
    if self_signed and not (certificate.exists() or key.exists()):
        write_self_signed(folder)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # whatever this machine's OpenSSL would still speak
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except (OSError, ssl.SSLError) as error:
        raise SettingError(f"MOSHI_GATEWAY_TLS_DIR: no usable {CERTIFICATE} and {KEY} in {folder}: {error}") from None
    return context


def _no_password() -> str:
    """A service has nobody to ask; without this the key's password would be asked for on the terminal."""
    raise SettingError(f"MOSHI_GATEWAY_TLS_DIR: {KEY} is encrypted; give the service a key without a password")


def grpc_credentials(folder: Path, self_signed: bool) -> grpc.ServerCredentials:
    """The folder's pair of the moment for gRPC, which speaks TLS 1.2 and later only. Raises SettingError."""

    def read() -> Pair:
        context_of(folder, self_signed)  # gRPC itself would take any bytes and then refuse every client
        return Pair((folder / CERTIFICATE).read_bytes(), (folder / KEY).read_bytes())

    return server_credentials(_reloaded(folder, read))


def contexts_of(folder: Path, self_signed: bool) -> Callable[[], ssl.SSLContext]:
    """What the folder's pair of the moment gives for HTTPS. Raises SettingError."""
    return _reloaded(folder, lambda: context_of(folder, self_signed)).get


def _reloaded(folder: Path, read: Callable[[], T]) -> Reloaded[T]:
    return Reloaded([folder / CERTIFICATE, folder / KEY], read)


def write_self_signed(folder: Path) -> None:
    """A new pair for this machine's names, valid for thirteen months; the key is readable by its owner alone."""
    # Only this needs the library, so a gateway without it serves HTTPS with a pair of the operator's.
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "moshi-cluster, self-signed")])
    now = datetime.datetime.now(datetime.UTC)
    names = [x509.DNSName("localhost"), x509.DNSName(socket.gethostname())]
    addresses = [x509.IPAddress(ipaddress.ip_address(address)) for address in ("127.0.0.1", "::1")]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=_VALID_DAYS))
        .add_extension(x509.SubjectAlternativeName([*names, *addresses]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    folder.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(folder / KEY, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
    (folder / CERTIFICATE).write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

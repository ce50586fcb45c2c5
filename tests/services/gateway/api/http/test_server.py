"""The HTTP port: plain or TLS, on or off, and what load balancers ask."""

from __future__ import annotations

import asyncio
import socket
import ssl
import stat
import sys
import types
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from moshi_cluster.services.common.settings import SettingError
from moshi_cluster.services.gateway.api import tls
from tests.services.gateway.api.websocket.chatter import HTTP, Chatter
from tests.services.gateway.cluster import Cluster, EchoLm, cluster
from tests.services.in_process import PATIENCE_S, eventually

pytestmark = pytest.mark.usefixtures("nothing_swallowed")


async def get(all_of_it: Cluster, path: str) -> tuple[int, str]:
    url = f"http://127.0.0.1:{all_of_it.service.http_port}{path}"
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return response.status, await response.text()


async def test_the_page_of_the_repository_is_at_the_root() -> None:
    async with cluster(**HTTP | {"web_dir": "clients/web"}) as all_of_it:
        status, text = await get(all_of_it, "/")
        assert status == 200
        assert "<title>" in text


async def test_without_a_page_the_rest_is_there() -> None:
    async with cluster(**HTTP) as all_of_it:
        assert (await get(all_of_it, "/"))[0] == 404
        assert (await get(all_of_it, "/health"))[0] == 200


async def test_health_says_whether_calls_are_taken() -> None:
    lm = EchoLm()
    async with cluster(lms=[lm], **HTTP) as all_of_it:
        assert await get(all_of_it, "/health") == (200, "serving\nfree slots: 8\n")
        lm.drain(60.0)
        await eventually(lambda: all_of_it.sample("moshi_gateway_workers", service="lm") == 0)
        assert await get(all_of_it, "/health") == (503, "not serving\nfree slots: 0\n")
    async with cluster(**HTTP) as all_of_it:
        all_of_it.service.drain(60.0)
        assert await get(all_of_it, "/health") == (503, "not serving\nfree slots: 0\n")


async def test_switched_off_nothing_listens() -> None:
    async with cluster() as all_of_it:
        with pytest.raises(RuntimeError, match="HTTP is off"):
            _ = all_of_it.service.http_port


async def test_a_port_that_is_taken_is_one_line_that_names_the_setting() -> None:
    async with cluster(**HTTP) as all_of_it:
        port = all_of_it.service.http_port
        message = f"^MOSHI_GATEWAY_HTTP_PORT: cannot listen on 127.0.0.1:{port}: the port is taken$"
        with pytest.raises(SettingError, match=message):
            async with cluster(**HTTP | {"http_port": port}):
                pass


@pytest.mark.parametrize(("host", "reached_at"), [("::1", "[::1]"), ("::", "[::1]"), ("::", "127.0.0.1")])
async def test_it_listens_at_every_address_of_its_host(host: str, reached_at: str) -> None:
    async with cluster(**HTTP | {"host": host}) as all_of_it:
        url = f"http://{reached_at}:{all_of_it.service.http_port}/health"
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            assert response.status == 200


# --- TLS


def secure(folder: Path, **more: Any) -> dict[str, Any]:
    return {**HTTP, "tls_dir": str(folder), **more}


async def test_a_self_signed_pair_is_made_once_and_serves_the_protocol(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "tls"
    for _ in range(2):
        async with cluster(**secure(folder, tls_self_signed=True)) as all_of_it:
            trust = ssl.create_default_context(cafile=str(folder / "cert.pem"))
            url = f"https://localhost:{all_of_it.service.http_port}/api/chat"
            async with aiohttp.ClientSession() as session, session.ws_connect(url, ssl=trust) as connection:
                chatter = Chatter(connection)
                await chatter.ready()
                await chatter.say(1)
                await chatter.answered(1)
        made = (folder / "cert.pem").read_bytes(), (folder / "key.pem").read_bytes()
    assert made == ((folder / "cert.pem").read_bytes(), (folder / "key.pem").read_bytes())
    assert stat.S_IMODE((folder / "key.pem").stat().st_mode) == 0o600


@pytest.mark.parametrize(("vouched_for", "said"), [(True, "max-age=31536000"), (False, None)])
async def test_browsers_are_told_to_stay_with_https_where_somebody_vouches_for_the_pair(
    tmp_path: Path, vouched_for: bool, said: str | None
) -> None:
    """Of a self-signed one its users could not go on past the browser's warning."""
    tls.write_self_signed(tmp_path)
    async with cluster(**secure(tmp_path, tls_self_signed=not vouched_for)) as all_of_it:
        trust = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
        url = f"https://localhost:{all_of_it.service.http_port}/health"
        async with aiohttp.ClientSession() as session, session.get(url, ssl=trust) as response:
            assert response.headers.get("Strict-Transport-Security") == said


async def test_a_renewed_pair_is_shown_on_both_ports_without_a_restart(tmp_path: Path) -> None:
    tls.write_self_signed(tmp_path)
    async with cluster(**secure(tmp_path, grpc_tls=True)) as all_of_it:
        for name in ("cert.pem", "key.pem"):
            (tmp_path / name).rename(tmp_path / f"old-{name}")
        tls.write_self_signed(tmp_path)
        renewed = (tmp_path / "cert.pem").read_text()
        for port in (all_of_it.service.http_port, int(all_of_it.target.rpartition(":")[2])):
            async with asyncio.timeout(PATIENCE_S):
                while await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", port)) != renewed:
                    pass


def test_the_self_signed_pair_names_this_machine_and_is_no_authority(tmp_path: Path) -> None:
    tls.write_self_signed(tmp_path)
    certificate = x509.load_pem_x509_certificate((tmp_path / "cert.pem").read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert {"localhost", socket.gethostname()} <= set(names.get_values_for_type(x509.DNSName))
    assert {"127.0.0.1", "::1"} == {str(address) for address in names.get_values_for_type(x509.IPAddress)}
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_an_old_protocol_version_is_refused(tmp_path: Path) -> None:
    context = tls.context_of(tmp_path, self_signed=True)
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


def test_the_oldest_version_is_not_left_to_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lenient = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    lenient.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED  # as some distributions have it
    monkeypatch.setattr(ssl, "create_default_context", lambda *_arguments: lenient)
    assert tls.context_of(tmp_path, self_signed=True).minimum_version == ssl.TLSVersion.TLSv1_2


def test_an_encrypted_key_is_refused_without_asking_for_its_password(tmp_path: Path) -> None:
    tls.write_self_signed(tmp_path)
    key = serialization.load_pem_private_key((tmp_path / "key.pem").read_bytes(), None)
    locked = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"secret")
    )
    (tmp_path / "key.pem").write_bytes(locked)
    with pytest.raises(SettingError, match="MOSHI_GATEWAY_TLS_DIR: key.pem is encrypted"):
        tls.context_of(tmp_path, self_signed=False)


@pytest.mark.parametrize("files", [(), ("cert.pem",), ("key.pem",), ("cert.pem", "key.pem")])
def test_a_folder_without_a_usable_pair_is_named(tmp_path: Path, files: tuple[str, ...]) -> None:
    for name in files:
        (tmp_path / name).write_text("not a key")
    with pytest.raises(SettingError, match=r"MOSHI_GATEWAY_TLS_DIR: no usable cert.pem and key.pem"):
        tls.context_of(tmp_path, self_signed=bool(files))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(files)


# --- a public address


async def test_a_tunnel_leads_to_the_http_port(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[tuple[Any, ...]] = []

    def setup_tunnel(*arguments: Any) -> str:
        asked.append(arguments)
        return "https://relayed.example"

    caplog.set_level("INFO")
    monkeypatch.setitem(sys.modules, "gradio", types.ModuleType("gradio"))
    monkeypatch.setitem(sys.modules, "gradio.networking", types.SimpleNamespace(setup_tunnel=setup_tunnel))
    async with cluster(gradio_tunnel=True, **HTTP) as all_of_it:
        ((host, port, name, relay, certificate),) = asked
        assert (host, port, relay, certificate) == ("localhost", all_of_it.service.http_port, None, None)
        assert len(name) > 30
    assert "public address=https://relayed.example" in caplog.text


async def test_a_tunnel_without_its_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(SettingError, match="GRADIO_TUNNEL: needs the package gradio"):
        async with cluster(gradio_tunnel=True, **HTTP):
            pass

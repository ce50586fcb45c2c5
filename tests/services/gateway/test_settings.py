"""Settings that could never work are refused at start, by name."""

from __future__ import annotations

import pytest

from moshi_cluster.services.common.settings import SettingError, describe, load
from moshi_cluster.services.gateway.settings import PREFIX, GatewaySettings


@pytest.mark.parametrize("name", ["codec_targets", "lm_targets"])
@pytest.mark.parametrize("value", ["localhost", ":50052", "name:", "name:0", "name:65536", "a:1,b:x", ""])
def test_a_target_is_host_and_port(name: str, value: str) -> None:
    variable = f"{PREFIX}{name.upper()}"
    with pytest.raises(SettingError, match=f"{variable}: expected host:port"):
        load(GatewaySettings, PREFIX, [], {variable: value})


def test_targets_may_be_many_names_and_addresses() -> None:
    settings = load(GatewaySettings, PREFIX, ["--lm-targets", "lm.internal:1, [::1]:2,10.0.0.1:65535"], {})
    assert settings.lm_targets == ("lm.internal:1", "[::1]:2", "10.0.0.1:65535")


def test_a_reply_backlog_holds_the_longest_packet() -> None:
    with pytest.raises(SettingError, match="REPLY_BACKLOG_MS"):
        load(GatewaySettings, PREFIX, ["--reply-backlog-ms", "99"], {})


@pytest.mark.parametrize(
    ("flags", "name"),
    [
        (["--tls-self-signed", "true"], "TLS_SELF_SIGNED"),
        (["--grpc-tls", "true"], "GRPC_TLS"),
        (["--http-proxy-protocol", "true"], "HTTP_PROXY_PROTOCOL"),
        (["--gradio-tunnel", "true", "--http", "false"], "GRADIO_TUNNEL"),
        (["--gradio-tunnel", "true", "--tls-dir", "tls"], "GRADIO_TUNNEL"),
    ],
)
def test_settings_of_the_public_ports_that_exclude_each_other_are_named(flags: list[str], name: str) -> None:
    with pytest.raises(SettingError, match=name):
        load(GatewaySettings, PREFIX, flags, {})


@pytest.mark.parametrize(
    "network", ["nginx", "10.0.0.0/33", "10.0.0.1/8", "10.0.0.1:80", "[::1]", "*", "::ffff:10.0.0.1", "::ffff:0:0/96"]
)
def test_a_trusted_proxy_is_an_address_or_a_network(network: str) -> None:
    with pytest.raises(SettingError, match=r"TRUSTED_PROXIES: .*(expected an address or a network|is IPv4)"):
        load(GatewaySettings, PREFIX, ["--trusted-proxies", f"192.0.2.1, {network}"], {})


def test_trusted_proxies_may_be_many() -> None:
    settings = load(GatewaySettings, PREFIX, ["--trusted-proxies", "10.0.0.0/8, 192.0.2.1,fd00::/8 ,::1"], {})
    assert settings.trusted_proxies == ("10.0.0.0/8", "192.0.2.1", "fd00::/8", "::1")


@pytest.mark.parametrize(
    "host", ["ws://gpu7", "gpu7:", "gpu7:0", "gpu7/api", "*", "*.example", "gpu7;x", "'self'", "GPU7"]
)
def test_an_allowed_worker_host_is_a_name_with_or_without_a_port(host: str) -> None:
    with pytest.raises(SettingError, match="ALLOWED_WORKER_HOSTS: expected lower-case host or host:port"):
        load(GatewaySettings, PREFIX, ["--allowed-worker-hosts", f"gpu6.example:8998, {host}"], {})


def test_no_other_host_is_allowed_unless_named() -> None:
    assert load(GatewaySettings, PREFIX, [], {}).allowed_worker_hosts == ()
    settings = load(GatewaySettings, PREFIX, ["--allowed-worker-hosts", "gpu7:8998,moshi.example"], {})
    assert settings.allowed_worker_hosts == ("gpu7:8998", "moshi.example")


@pytest.mark.parametrize(
    "origin", ["moshi.example", "https://", "https://a/", "https://a:0", "ws://a", "https://*.a", "null", "HTTPS://A"]
)
def test_an_allowed_origin_is_what_a_browser_sends(origin: str) -> None:
    with pytest.raises(SettingError, match=r"ALLOWED_ORIGINS: expected https://host\[:port\] or \*"):
        load(GatewaySettings, PREFIX, ["--allowed-origins", f"https://a.example, {origin}"], {})


def test_origins_are_names_addresses_or_all() -> None:
    assert load(GatewaySettings, PREFIX, [], {}).allowed_origins == ()
    settings = load(GatewaySettings, PREFIX, ["--allowed-origins", "*,http://[::1]:8998,https://moshi.example"], {})
    assert settings.allowed_origins == ("*", "http://[::1]:8998", "https://moshi.example")


SECRET_URL = "redis://:secret@host:6379"


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"SESSION_STORE": SECRET_URL}, "SESSION_STORE: needs MOSHI_GATEWAY_SESSION_STORE_KEY_FILE"),
        ({"SESSION_STORE": "http://:secret@host", "SESSION_STORE_KEY_FILE": "k"}, "SESSION_STORE: expected redis://"),
        ({"SESSION_STORE": "secret", "SESSION_STORE_KEY_FILE": "k"}, "SESSION_STORE: expected redis://"),
        (
            {"SESSION_STORE": SECRET_URL, "SESSION_STORE_KEY_FILE": "k", "RESUME_KEEP_S": "0"},
            "SESSION_STORE: needs MOSHI_GATEWAY_RESUME_KEEP_S",
        ),
    ],
)
def test_a_session_store_that_is_none_is_refused_with_nothing_of_its_password(
    given: dict[str, str], problem: str
) -> None:
    with pytest.raises(SettingError, match=f"^{PREFIX}{problem}") as error:
        load(GatewaySettings, PREFIX, [], {PREFIX + name: value for name, value in given.items()})
    assert "secret" not in str(error.value)
    assert "\n" not in str(error.value)


def test_the_password_of_the_session_store_is_not_among_the_settings_in_the_log() -> None:
    variables = {f"{PREFIX}SESSION_STORE": SECRET_URL, f"{PREFIX}SESSION_STORE_KEY_FILE": "keys"}
    line = describe(load(GatewaySettings, PREFIX, [], variables))
    assert "session_store='redis://host:6379'" in line
    assert "secret" not in line

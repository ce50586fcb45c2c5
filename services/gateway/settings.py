"""Settings of the gateway; variables begin with MOSHI_GATEWAY_."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from moshi_cluster.services.common.listening import Host
from moshi_cluster.services.common.process_settings import ProcessSettings
from moshi_cluster.services.common.secret_url import SecretUrl
from moshi_cluster.services.common.settings import SettingError, setting

PREFIX = "MOSHI_GATEWAY_"
DEFAULT_WEB_DIR = "clients/web"
_WORKER_HOST = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)*(:[1-9][0-9]{0,4})?", re.ASCII)  # stands in a header as it is
_ORIGIN = re.compile(r"\*|https?://[a-z0-9.-]+(:[1-9][0-9]{0,4})?|https?://\[[0-9a-f:]+\](:[1-9][0-9]{0,4})?", re.ASCII)


@dataclass(frozen=True)
class GatewaySettings(ProcessSettings):
    """Everything that can be set about a gateway."""

    port: int = setting(50051, "gRPC port; 0 picks a free one.", minimum=0, maximum=65535)
    metrics_port: int = setting(9101, "Prometheus port; 0 picks a free one.", minimum=0, maximum=65535)
    instance_name: str = setting("moshi-cluster", "Name of this installation, told to clients of /api/chat.")
    http: bool = setting(True, "Serve the web page and /api/chat.")
    http_port: int = setting(8998, "Port of the web page and /api/chat; 0 picks a free one.", minimum=0, maximum=65535)
    web_dir: str = setting(
        DEFAULT_WEB_DIR, "Folder of the web page; left alone, the one that comes along; empty: no page."
    )
    allowed_worker_hosts: tuple[str, ...] = setting(
        (),
        "Other servers, host or host:port, comma separated, that the web page talks to where ?worker_addr= in its"
        " address asks for them; empty: none.",
    )
    allowed_origins: tuple[str, ...] = setting(
        (),
        "Web sites, as https://host or https://host:port, comma separated, whose pages may open /api/chat beside this"
        " server's own; * for every site.",
    )
    max_http_connections: int = setting(1000, "Connections to the HTTP port held at once.", minimum=1)
    max_http_connections_per_client: int = setting(
        300,
        "Connections to the HTTP port held at once for one address; trusted_proxies have no limit of their own.",
        minimum=1,
    )
    trusted_proxies: tuple[str, ...] = setting(
        (),
        "Reverse proxies, addresses and networks (10.1.0.0/16), comma separated: their X-Forwarded-For is believed.",
    )
    grpc_forwarded_for: bool = setting(
        True, "X-Forwarded-For of trusted_proxies is believed on the gRPC port, too; false where they pass bytes on."
    )
    http_proxy_protocol: bool = setting(
        False, "Connections of trusted_proxies to the HTTP port begin with the PROXY protocol, version 1 or 2."
    )
    http_request_timeout_s: float = setting(
        10.0, "A connection to the HTTP port without a whole request for this long is closed.", minimum=0.1
    )
    tls_dir: str = setting("", "Folder with cert.pem and key.pem: the HTTP port speaks HTTPS. Empty: plain HTTP.")
    tls_self_signed: bool = setting(False, "Make a self-signed pair in tls_dir if it holds none.")
    grpc_tls: bool = setting(False, "The gRPC port is encrypted too, with the pair in tls_dir.")
    token_file: str = setting(
        "",
        "File of bearer tokens, one a line, behind it name=, sessions= and openings_per_s=: every call must show one of"
        " them. Empty: nobody is asked.",
    )
    control_token_file: str = setting(
        "", "File of the bearer tokens of CallControl, one a line: who may act on others' calls. Empty: nobody."
    )
    telephony: tuple[str, ...] = setting(
        (),
        "Wires of telephone systems that are served, comma separated: those of WebSockets at /telephony/<wire> of the"
        " HTTP port. docs/telephony.md lists them.",
    )
    telephony_networks: tuple[str, ...] = setting(
        (),
        "Addresses and networks (10.1.0.0/16), comma separated, whose telephone systems may call; empty: every one.",
    )
    telephony_barge_in_ms: int = setting(
        500,
        "A caller who begins to speak while more than this of Moshi's voice waits at the far end throws it away there.",
        minimum=0,
    )
    audiosocket_host: Host = setting(
        Host("127.0.0.1"), "Address of AudioSocket, which knows no token; any other needs telephony_networks."
    )
    audiosocket_port: int = setting(9019, "Port of AudioSocket; 0 picks a free one.", minimum=0, maximum=65535)
    audiosocket_profiles: str = setting(
        "",
        "JSON file of what a connection of AudioSocket asks for, by its UUID, * for every other: text_prompt, voice,"
        " seed, label. Empty: the model as it is.",
    )
    twilio_token_file: str = setting(
        "", "File of Twilio auth tokens, one a line: requests must be signed with one of them. Empty: any request."
    )
    genesys_key_file: str = setting(
        "",
        "File of Genesys AudioHook's keys, one a line: API key, client secret in base64 and, if only one may use it, an"
        " organization's id. Requests must be signed with one of them. Empty: any request.",
    )
    otlp_endpoint: str = setting(
        "", "OpenTelemetry collector, http://host:port or https://, that gets a span of each call; empty: none."
    )
    audit_addresses: bool = setting(False, "The audit log's line of a call has the caller's address, too.")
    workers_mtls_dir: str = setting(
        "",
        "Folder with tls.crt, tls.key and ca.crt: workers are reached with TLS, and both sides show a certificate."
        " Empty: not encrypted.",
    )
    gradio_tunnel: bool = setting(False, "Make the HTTP port public through Gradio's relay; needs the package gradio.")
    codec_targets: tuple[str, ...] = setting(
        ("localhost:50052",), "Codec workers, host:port, comma separated; a name may stand for several addresses."
    )
    lm_targets: tuple[str, ...] = setting(
        ("localhost:50053",), "LM workers, host:port, comma separated; a name may stand for several addresses."
    )
    resolve_interval_s: float = setting(5.0, "Names of targets are looked up this often.", minimum=0.1)
    unsupported_prompts: str = setting(
        "refuse",
        "Calls with a persona where the model takes none: refuse, or ignore-with-event.",
        choices=("refuse", "ignore-with-event"),
    )
    max_sessions: int = setting(100, "Calls held at once.", minimum=1, maximum=10_000)
    max_sessions_per_client: int = setting(
        100, "Calls held at once for one client address; a telephony system is one client.", minimum=1, maximum=10_000
    )
    max_openings_per_s: float = setting(
        50.0,
        "Calls that one client address may begin per second, on average; more wait, then are refused.",
        minimum=0.1,
    )
    max_loopback_sessions: int = setting(
        16, "Loopback calls held at once; they need no worker and take none of the calls' places.", minimum=0
    )
    queue_clients: int = setting(32, "Clients of /api/chat that may wait while every slot is in use.", minimum=0)
    resume_keep_s: float = setting(
        60.0, "A conversation whose connection was lost may be resumed for this long; 0: not.", minimum=0.0
    )
    session_store: SecretUrl = setting(
        SecretUrl(""),
        "Redis or Valkey that keeps conversations, so that any gateway resumes a lost one: redis://host:port/number,"
        " rediss:// with TLS; empty: each gateway keeps its own.",
    )
    session_store_key_file: str = setting(
        "", "File of the keys that seal the session store, base64, one a line, the first for writing."
    )
    session_store_interval_s: float = setting(
        1.0, "What is new of each call is written to the session store this often.", minimum=0.05
    )
    max_messages_per_s: float = setting(
        500.0, "Messages of one call per second, on average; the shortest Opus packets are 400.", minimum=1.0
    )
    max_message_bytes: int = setting(512 * 1024, "Largest message from a caller.", minimum=1024)
    open_timeout_s: float = setting(10.0, "A call whose `start` and slots take longer than this ends.", minimum=0.1)
    answer_timeout_s: float = setting(
        1.0,
        "A worker that leaves a frame unanswered and says nothing for this long beyond its own longest step, at most"
        " twice this, hangs: its calls move.",
        minimum=0.1,
    )
    move_timeout_s: float = setting(
        5.0, "A call whose worker is lost ends when no other has had room for it for this long.", minimum=0.0
    )
    remembered_encode_frames: int = setting(
        32, "Last frames of a caller's voice that another codec hears first when a call moves to it.", minimum=0
    )
    remembered_decode_frames: int = setting(
        25, "Last frames of Moshi's codes that another codec gets first when a call moves to it.", minimum=0
    )
    idle_timeout_s: float = setting(60.0, "A call that sends nothing for this long ends.", minimum=0.1)
    first_voice_timeout_s: float = setting(
        15.0, "A call of /api/chat that has sent no voice for this long since it began ends.", minimum=0.1
    )
    session_max_s: float = setting(3600.0, "Longest call.", minimum=1.0)
    flush_timeout_s: float = setting(10.0, "Time to answer what is in flight after the caller hung up.", minimum=0.1)
    jitter_allowance_ms: int = setting(
        100, "Silence is filled in once a caller is this late.", minimum=20, maximum=2000
    )
    backlog_frames: int = setting(8, "Caller's frames that may wait; beyond, the oldest are dropped.", minimum=1)
    inflight_frames: int = setting(4, "Frames of a call inside the workers at once.", minimum=1, maximum=8)
    reply_backlog_ms: int = setting(2000, "Reply audio that may wait for a slow reader.", minimum=100)
    reply_notes_max: int = setting(1000, "Texts and events that may wait for a slow reader.", minimum=10)
    retry_after_ms: int = setting(1000, "Hint to callers that find no free slot.", minimum=1)

    def __post_init__(self) -> None:
        for name in ("codec_targets", "lm_targets"):
            targets: tuple[str, ...] = getattr(self, name)
            wrong = [target for target in targets if not _is_target(target)]
            if wrong or not targets:
                raise SettingError(f"{PREFIX}{name.upper()}: expected host:port, got {wrong[0] if wrong else ''!r}")
        for host in self.allowed_worker_hosts:
            if not _WORKER_HOST.fullmatch(host):
                raise SettingError(f"{PREFIX}ALLOWED_WORKER_HOSTS: expected lower-case host or host:port, got {host!r}")
        for origin in self.allowed_origins:
            if not _ORIGIN.fullmatch(origin):
                raise SettingError(f"{PREFIX}ALLOWED_ORIGINS: expected https://host[:port] or *, got {origin!r}")
        for name in ("trusted_proxies", "telephony_networks"):
            for network in getattr(self, name):
                _check_network(network, name)
        if self.http_proxy_protocol and not self.trusted_proxies:
            raise SettingError(f"{PREFIX}HTTP_PROXY_PROTOCOL: needs {PREFIX}TRUSTED_PROXIES to say who speaks it")
        for name in ("tls_self_signed", "grpc_tls"):
            if getattr(self, name) and not self.tls_dir:
                raise SettingError(f"{PREFIX}{name.upper()}: needs {PREFIX}TLS_DIR to say where the pair belongs")
        self._check_store()
        if self.otlp_endpoint and not self.otlp_endpoint.startswith(("http://", "https://")):
            raise SettingError(f"{PREFIX}OTLP_ENDPOINT: expected http://host:port or https://host:port")
        if self.gradio_tunnel and (self.tls_dir or not self.http):
            raise SettingError(
                f"{PREFIX}GRADIO_TUNNEL: the relay speaks plain HTTP with this port, and HTTPS with others"
            )

    def _check_store(self) -> None:
        """Raises SettingError with nothing of a password."""
        if not self.session_store:
            return
        if not self.session_store.startswith(("redis://", "rediss://")):
            raise SettingError(f"{PREFIX}SESSION_STORE: expected redis://host:port or rediss://host:port")
        if not self.session_store_key_file:
            raise SettingError(f"{PREFIX}SESSION_STORE: needs {PREFIX}SESSION_STORE_KEY_FILE to say what seals it")
        if not self.resume_keep_s:
            raise SettingError(f"{PREFIX}SESSION_STORE: needs {PREFIX}RESUME_KEEP_S above 0: nothing is kept otherwise")


def _check_network(text: str, name: str) -> None:
    """Raises SettingError for what is neither address nor network."""
    try:
        network = ipaddress.ip_network(text)
    except ValueError as error:
        raise SettingError(f"{PREFIX}{name.upper()}: expected an address or a network: {error}") from None
    if isinstance(network, ipaddress.IPv6Network) and network.network_address.ipv4_mapped is not None:
        raise SettingError(f"{PREFIX}{name.upper()}: {text} is IPv4: write it so")


def _is_target(target: str) -> bool:
    host, _, port = target.rpartition(":")
    return bool(host) and port.isdecimal() and 1 <= int(port) <= 65535

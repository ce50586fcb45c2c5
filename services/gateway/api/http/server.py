"""The gateway's HTTP port: the web page, /api/chat, /health."""

from __future__ import annotations

import logging
from pathlib import Path

from aiohttp import web

import moshi_cluster
from moshi_cluster.services.common.listening import open_listeners
from moshi_cluster.services.gateway.admission.trusted_proxies import TrustedProxies
from moshi_cluster.services.gateway.api.http.connection import SERVER_NAME, HttpConnection
from moshi_cluster.services.gateway.api.http.connection_limits import ConnectionLimits
from moshi_cluster.services.gateway.api.http.listener import Leave, Listener
from moshi_cluster.services.gateway.api.http.static_files import StaticFiles
from moshi_cluster.services.gateway.api.http.tunnel import open_tunnel
from moshi_cluster.services.gateway.api.telephony.handler import PATH, TelephonyHandler
from moshi_cluster.services.gateway.api.tls import contexts_of
from moshi_cluster.services.gateway.api.websocket.handler import WebSocketHandler
from moshi_cluster.services.gateway.calls.manager import CallManager
from moshi_cluster.services.gateway.settings import DEFAULT_WEB_DIR, PREFIX, GatewaySettings

_PACKAGE = Path(moshi_cluster.__file__).parent
_HTTPS_ONLY_S = 365 * 24 * 3600
_STOP_GRACE_S = 2.0  # by then every call is over; what is left is closing

_log = logging.getLogger(__name__)


class HttpServer:
    """Listens from `start` to `stop`. Runs in the process's event loop."""

    def __init__(self, settings: GatewaySettings, manager: CallManager) -> None:
        self._settings = settings
        self._manager = manager
        self._chat = WebSocketHandler(settings, manager)
        self._telephony = TelephonyHandler(settings, manager)
        self._runner = web.AppRunner(self._application(), access_log=None, shutdown_timeout=_STOP_GRACE_S)
        self._listener: Listener | None = None

    async def start(self) -> None:
        """Raises SettingError for a port that cannot be had, a bad certificate, or a tunnel that cannot be."""
        settings = self._settings
        tls = contexts_of(Path(settings.tls_dir), settings.tls_self_signed) if settings.tls_dir else None
        await self._runner.setup()
        proxies = TrustedProxies(settings.trusted_proxies)
        limits = ConnectionLimits(
            settings.max_http_connections, settings.max_http_connections_per_client, self._manager.metrics, proxies
        )
        announcing = proxies if settings.http_proxy_protocol else None
        self._listener = Listener(self._connection, limits, settings.http_request_timeout_s, tls, announcing)
        await self._listener.start(open_listeners(settings.host, settings.http_port, PREFIX, "http_port"))
        _log.info("listening http_port=%d tls=%s", self.port, bool(tls))
        if settings.gradio_tunnel:
            address = await open_tunnel(self.port)
            self._chat.entry.allowed_origins.add(address)
            _log.info("public address=%s; relayed, which may cost half a second", address)

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._listener is not None, "not started"
        return self._listener.port

    async def stop(self) -> None:
        """Waits a little for connections that are closing, and ends the rest."""
        if self._listener is not None:
            await self._listener.stop()
        await self._runner.cleanup()

    def _connection(self, address: str, leave: Leave) -> HttpConnection:
        assert self._runner.server is not None, "not started"
        timeout_s = self._settings.http_request_timeout_s
        parsing = self._manager.loop_budget.parsing()
        return HttpConnection(self._runner.server, parsing, self._manager.metrics, address, timeout_s, leave)

    def _application(self) -> web.Application:
        application = web.Application()
        application.on_response_prepare.append(self._finish_headers)
        application.on_shutdown.append(lambda _: self._chat.entry.stop())
        application.router.add_get("/api/chat", self._chat.handle)
        application.on_shutdown.append(lambda _: self._telephony.entry.stop())
        if self._settings.telephony:
            application.router.add_get(PATH, self._telephony.handle)
        application.router.add_get("/health", self._health)
        if self._settings.web_dir:
            is_ours = self._settings.web_dir == DEFAULT_WEB_DIR
            folder = _PACKAGE / DEFAULT_WEB_DIR if is_ours else Path(self._settings.web_dir)
            files = StaticFiles(folder, self._settings.allowed_worker_hosts, is_ours)
            application.router.add_get("/{path:.*}", files.handle)
        return application

    async def _health(self, request: web.Request) -> web.Response:
        """For load balancers that know no gRPC health: 200 while calls are taken, 503 otherwise; and for how many."""
        takes_calls = self._manager.takes_calls
        text = f"{'serving' if takes_calls else 'not serving'}\nfree slots: {self._manager.free_slots}\n"
        return web.Response(text=text, status=200 if takes_calls else 503)

    async def _finish_headers(self, request: web.BaseRequest, response: web.StreamResponse) -> None:
        """A certificate that nobody vouches for is left out: its users could not go on past the browser's warning."""
        response.headers["Server"] = SERVER_NAME
        if self._settings.tls_dir and not self._settings.tls_self_signed:
            response.headers["Strict-Transport-Security"] = f"max-age={_HTTPS_ONLY_S}"

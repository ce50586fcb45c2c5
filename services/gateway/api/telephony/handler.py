"""Handler of /telephony/<wire>: WebSockets of telephone systems."""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import web

from moshi_cluster.services.common.errors import SessionError, Unauthenticated
from moshi_cluster.services.gateway.admission.auth import bearer
from moshi_cluster.services.gateway.api.telephony.links import WebSocketLink
from moshi_cluster.services.gateway.api.telephony.wire import OpenWire, Request, Wire
from moshi_cluster.services.gateway.api.telephony.wire_calls import WireCalls
from moshi_cluster.services.gateway.api.telephony.wires import OVER_WEBSOCKET
from moshi_cluster.services.gateway.api.websocket_entry import WebSocketEntry
from moshi_cluster.services.gateway.calls.manager import CallManager
from moshi_cluster.services.gateway.settings import GatewaySettings

PATH = "/telephony/{wire}"


class TelephonyHandler:
    """Serves the wires that the settings name."""

    def __init__(self, settings: GatewaySettings, manager: CallManager) -> None:
        """Raises SettingError for a wire that lacks something."""
        self.entry = WebSocketEntry(settings, manager)
        """Who may call."""
        self._manager = manager
        names = [name for name in settings.telephony if name in OVER_WEBSOCKET]
        self._wires: Mapping[str, OpenWire] = {name: OVER_WEBSOCKET[name](settings) for name in names}
        self._calls = {name: WireCalls(name, settings, manager) for name in names}

    async def handle(self, request: web.Request) -> web.WebSocketResponse:
        """The request's whole life. What is wrong with the request itself is told by an HTTP status."""
        name = request.match_info["wire"]
        if name not in self._wires:
            raise web.HTTPNotFound(text="no such wire is served here\n")
        client = self.entry.client(request)
        if not self._calls[name].allows(client):
            self._manager.metrics.http_refused("telephony")
            raise web.HTTPForbidden(text="telephone systems of this address may not call this server\n")
        wire = self._open(name, request, client)
        async with self.entry.enter(request, wire.subprotocols) as entered:
            await self._calls[name].serve(wire, WebSocketLink(entered), client, wire.token or _token(request))
        return entered.websocket

    def _open(self, name: str, request: web.Request, client: str) -> Wire:
        try:
            return self._wires[name](Request(client, request.path_qs, request.headers, request.query))
        except Unauthenticated as error:
            self._manager.metrics.wrong_token()
            raise web.HTTPUnauthorized(text=f"{error}\n") from None
        except SessionError as error:
            self._manager.metrics.bad_request()
            raise web.HTTPBadRequest(text=f"{error}\n") from None


def _token(request: web.Request) -> str | None:
    return bearer(request.headers.get("Authorization")) or request.query.get("token")

"""Wires by their names, as the setting `telephony` has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from moshi_cluster.services.common.settings import SettingError
from moshi_cluster.services.gateway.api.telephony.audiohook import genesys
from moshi_cluster.services.gateway.api.telephony.audiosocket import audiosocket
from moshi_cluster.services.gateway.api.telephony.chan_websocket import chan_websocket
from moshi_cluster.services.gateway.api.telephony.freeswitch import audio_fork, audio_stream, jambonz
from moshi_cluster.services.gateway.api.telephony.media_streams import EXOTEL, PLIVO, TELNYX, TWILIO, media_streams
from moshi_cluster.services.gateway.api.telephony.twilio import twilio
from moshi_cluster.services.gateway.api.telephony.wire import WireKind
from moshi_cluster.services.gateway.settings import PREFIX, GatewaySettings

OVER_WEBSOCKET: Mapping[str, WireKind] = {
    "twilio": twilio,
    "telnyx": media_streams(TELNYX),
    "exotel": media_streams(EXOTEL),
    "plivo": media_streams(PLIVO),
    "fonoster": media_streams(TWILIO),
    "jambonz": jambonz,
    "mod_audio_fork": audio_fork,
    "mod_audio_stream": audio_stream,
    "genesys": genesys,
    "asterisk": chan_websocket,
}
"""Served at /telephony/<name> of the HTTP port."""


@dataclass(frozen=True)
class StreamKind:
    """A wire over TCP, on a port of its own; host and port are names of settings."""

    kind: WireKind
    host: str
    port: str


OVER_STREAM: Mapping[str, StreamKind] = {
    "audiosocket": StreamKind(audiosocket, "audiosocket_host", "audiosocket_port"),
}


def check_names(settings: GatewaySettings) -> None:
    """Raises SettingError for a name that is none, and for a WebSocket without an HTTP port."""
    known = [*OVER_WEBSOCKET, *OVER_STREAM]
    for name in settings.telephony:
        if name not in known:
            raise SettingError(f"{PREFIX}TELEPHONY: {name!r} is none of {', '.join(known)}")
        if name in OVER_WEBSOCKET and not settings.http:
            raise SettingError(f"{PREFIX}TELEPHONY: {name} is carried by the HTTP port: needs {PREFIX}HTTP")

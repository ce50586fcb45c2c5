"""Genesys Cloud with an Audio Connector, simulated: AudioHook version 2.

Protocol: developer.genesys.cloud/devapps/audiohook; github.com/purecloudlabs/audiohook-reference-implementation. What
an Audio Connector adds (barge_in, dtmf, playback, variables): github.com/GenesysCloudBlueprints/
audioconnector-server-reference-implementation.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import aiohttp
import numpy as np

from moshi_cluster.audio import g711
from moshi_cluster.audio.pcm import Samples
from tests.services.gateway.api.telephony.simulators.phone import Gateway
from tests.services.gateway.api.telephony.simulators.websocket_phone import WebSocketPhone
from tests.services.in_process import eventually

NO_ID = "00000000-0000-0000-0000-000000000000"
ORGANIZATION = "d7934305-0972-4844-938e-9060eef73d05"
API_KEY = "SGVsbG8sIEkgYW0gdGhlIEFQSSBrZXkh"
SECRET = "TXlTdXBlclNlY3JldEtleVRlbGxOby0xITJAMyM0JDU="
EXTERNAL = {"type": "audio", "format": "PCMU", "channels": ["external"], "rate": 8000}
BOTH = {"type": "audio", "format": "PCMU", "channels": ["external", "internal"], "rate": 8000}


def signed(host: str, target: str, headers: Mapping[str, str], secret: str = SECRET) -> dict[str, str]:
    """The headers, and the signature of the request."""
    values = {"@request-target": target, "@authority": host} | {name.lower(): each for name, each in headers.items()}
    now_s = int(time.time())
    names = " ".join(f'"{name}"' for name in values)
    nonce = base64.b64encode(secrets.token_bytes(18)).decode()
    times = f"created={now_s};expires={now_s + 30}"
    parameters = f'({names});keyid="{headers["X-API-KEY"]}";nonce="{nonce}";alg="hmac-sha256";{times}'
    lines = [f'"{name}": {value}' for name, value in values.items()]
    base = "\n".join([*lines, f'"@signature-params": {parameters}'])
    digest = hmac.new(base64.b64decode(secret), base.encode(), hashlib.sha256).digest()
    return {
        **headers,
        "Signature-Input": f"sig1={parameters}",
        "Signature": f"sig1=:{base64.b64encode(digest).decode()}:",
    }


class GenesysPhone(WebSocketPhone):
    """One session; `continues` names the one before it."""

    wire = "genesys"
    packet_ms = 200

    def __init__(self, continues: str | None = None, media: Sequence[Mapping[str, Any]] = (EXTERNAL,)) -> None:
        super().__init__()
        self.id = str(uuid.uuid4())
        self.conversation = str(uuid.uuid4())
        self.secret: str | None = None
        self.disconnects: list[dict[str, Any]] = []
        self.pongs = 0
        self.updates = 0
        self.is_open = self.is_closed = False
        self._continues = continues
        self._media = media
        self._sent = self._received = 0
        self._position_ms = 0

    async def dial(self, gateway: Gateway, parameters: Mapping[str, str]) -> None:
        """Returns once the session is open, or refused."""
        headers = {
            "Audiohook-Organization-Id": ORGANIZATION,
            "Audiohook-Session-Id": self.id,
            "Audiohook-Correlation-Id": str(uuid.uuid4()),
            "X-API-KEY": API_KEY,
        }
        self.headers = signed(gateway.http, f"/telephony/{self.wire}", headers, self.secret) if self.secret else headers
        await self.connect(gateway)
        await self.tell("open", **self._open(parameters))
        await self.until(lambda: self.is_open or self.over.is_set() or (self.is_answered and not self.is_strict))

    def _open(self, parameters: Mapping[str, str]) -> dict[str, Any]:
        participant = {"id": str(uuid.uuid4()), "ani": "+13175551234", "aniName": "", "dnis": "+18005550000"}
        before = [{"id": self._continues, "serverseq": 1, "clientseq": 1}] if self._continues else []
        return {
            "organizationId": ORGANIZATION,
            "conversationId": self.conversation,
            "participant": participant,
            "media": list(self._media),
            "language": "en-US",
            "inputVariables": dict(parameters),
            **({"continuedSessions": before} if before else {}),
        }

    async def say(self, samples: Samples) -> None:
        """A packet; the session is open."""
        self._position_ms += samples.size * 1000 // self.rate_hz
        await self.send(g711.encode_mulaw(samples))

    async def say_beside(self, samples: Samples, agent: Samples) -> None:
        """A packet of both voices, sample by sample."""
        self._position_ms += samples.size * 1000 // self.rate_hz
        await self.send(g711.encode_mulaw(np.stack((samples, agent), axis=1).ravel()))

    async def press(self, digit: str) -> None:
        await self.tell("dtmf", digit=digit)

    async def hang_up(self, reason: str = "end") -> None:
        await self.tell("close", reason=reason)

    async def discard(self, lost_ms: int) -> None:
        """So much was lost before it was sent."""
        start_ms, self._position_ms = self._position_ms, self._position_ms + lost_ms
        await self.tell("discarded", start=_duration(start_ms), discarded=_duration(lost_ms))

    async def tell(self, kind: str, **parameters: Any) -> None:
        """Sends a message with its numbers."""
        self._sent += 1
        message = {
            "version": "2",
            "type": kind,
            "id": self.id,
            "seq": self._sent,
            "serverseq": self._received,
            "position": _duration(self._position_ms),
            "parameters": parameters,
        }
        await self.send(json.dumps(message))

    async def take(self, message: aiohttp.WSMessage) -> None:
        if message.type is aiohttp.WSMsgType.BINARY:
            assert self.is_open, "voice before opened"
            assert not self.is_closed, "voice after closed"
            assert len(message.data) == 1600 or self._may_be_last(message.data)
            self.hear(g711.decode_mulaw(message.data))
            return
        assert message.type is aiohttp.WSMsgType.TEXT
        assert len(message.data) < 65_536
        fields = json.loads(message.data)
        assert fields.keys() == {"version", "type", "seq", "clientseq", "id", "parameters"}
        assert (fields["version"], fields["id"]) == ("2", self.id)
        assert fields["seq"] == self._received + 1, "not the next message"
        assert 0 <= fields["clientseq"] <= self._sent
        self._received += 1
        await self._TAKES[fields["type"]](self, fields["parameters"])

    async def until(self, holds: Callable[[], bool]) -> None:
        """Returns once something holds."""
        await eventually(holds)

    def _may_be_last(self, data: bytes) -> bool:
        """Only before it asks to be closed."""
        return 0 < len(data) < 1600

    async def _opened(self, parameters: dict[str, Any]) -> None:
        assert not self.is_open
        assert parameters.keys() == {"startPaused", "media"}
        assert parameters["media"][0] in self._media
        assert len(parameters["media"]) == 1
        self.is_open = True

    async def _closed(self, parameters: dict[str, Any]) -> None:
        assert parameters == {}
        self.is_closed = True

    async def _pong(self, parameters: dict[str, Any]) -> None:
        self.pongs += 1

    async def _updated(self, parameters: dict[str, Any]) -> None:
        self.updates += 1

    async def _disconnect(self, parameters: dict[str, Any]) -> None:
        assert parameters["reason"] in ("completed", "unauthorized", "error")
        self.disconnects.append(parameters)
        await self.tell("close", reason="disconnect")

    async def _event(self, parameters: dict[str, Any]) -> None:
        assert parameters == {"entities": [{"type": "barge_in", "data": {}}]}
        self.clears += 1

    _TAKES: Mapping[str, Callable[..., Any]] = {
        "opened": _opened,
        "closed": _closed,
        "pong": _pong,
        "updated": _updated,
        "disconnect": _disconnect,
        "event": _event,
    }


def _duration(ms: int) -> str:
    return f"PT{ms / 1000:.3f}S"

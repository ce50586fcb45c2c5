"""Twilio Media Streams, Telnyx, Exotel and Plivo, simulated.

Twilio: www.twilio.com/docs/voice/media-streams/websocket-messages. Telnyx: developers.telnyx.com, "Stream call media
over WebSocket". Exotel: developer.exotel.com/docs/agentstream/websocket-protocol. Plivo: plivo.com/docs/voice/
audio-streaming.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable, Mapping
from typing import Any

import aiohttp

from moshi_cluster.audio import g711
from moshi_cluster.audio.pcm import Samples
from tests.services.gateway.api.telephony.simulators.phone import Gateway, Phone

Fields = dict[str, Any]


class WebSocketPhone(Phone):
    """A phone over a WebSocket to /telephony/<wire>; `take` gets every message."""

    wire: str
    headers: Mapping[str, str] = {}
    protocols: tuple[str, ...] = ()

    def __init__(self) -> None:
        super().__init__()
        self._session: aiohttp.ClientSession | None = None
        self._reading: asyncio.Task[None] | None = None
        self.socket: aiohttp.ClientWebSocketResponse

    async def connect(self, gateway: Gateway, query: Mapping[str, str] | None = None) -> None:
        """Opens the WebSocket. Raises WSServerHandshakeError when it is refused."""
        self._session = aiohttp.ClientSession()
        url = f"http://{gateway.http}/telephony/{self.wire}"
        try:
            options: Any = {"headers": self.headers, "protocols": self.protocols, "params": query or {}}
            self.socket = await self._session.ws_connect(url, **options)
        except BaseException:
            await self._session.close()
            raise
        self._reading = asyncio.create_task(self._read())

    async def close(self) -> None:
        """Raises what was wrong with what was received."""
        if self._session is not None:
            await self.socket.close()
            await self._session.close()
        if self._reading is not None:
            await self._reading

    async def take(self, message: aiohttp.WSMessage) -> None:
        """Checks and takes a message."""
        raise NotImplementedError

    async def _read(self) -> None:
        try:
            async for message in self.socket:
                await self.take(message)
        finally:
            self.over.set()


class TwilioPhone(WebSocketPhone):
    """One stream of a bidirectional call."""

    wire = "twilio"
    sid = "MZ00112233445566778899aabbccddeeff"

    def __init__(self) -> None:
        super().__init__()
        self.marks: list[str] = []
        """Names of marks that came, each sent back at once: this phone plays what it hears in no time."""
        self.tracks = ["inbound"]
        self._sequence = 0
        self._chunk = 0

    async def dial(self, gateway: Gateway, parameters: Mapping[str, str]) -> None:
        await self.connect(gateway)
        await self.socket.send_str(json.dumps({"event": "connected", "protocol": "Call", "version": "1.0.0"}))
        await self.event("start", start=self.start(parameters))

    def start(self, parameters: Mapping[str, str]) -> Fields:
        """What the event of this name holds."""
        return {
            "accountSid": "AC00112233445566778899aabbccddeeff",
            "streamSid": self.sid,
            "callSid": "CA00112233445566778899aabbccddeeff",
            "tracks": self.tracks,
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
            "customParameters": dict(parameters),
        }

    async def say(self, samples: Samples) -> None:
        self._chunk += 1
        await self.media(self._chunk, self.packet_ms * (self._chunk - 1), g711.encode_mulaw(samples))

    async def skip(self, packets: int) -> None:
        """So many packets are lost on their way."""
        self._chunk += packets

    async def media(self, chunk: int, time_ms: int, data: bytes, track: str = "inbound") -> None:
        """A packet, wherever it belongs."""
        payload = base64.b64encode(data).decode()
        media = {"track": track, "chunk": str(chunk), "timestamp": str(time_ms), "payload": payload}
        await self.event("media", media=media)

    async def press(self, digit: str) -> None:
        await self.event("dtmf", dtmf={"track": "inbound_track", "digit": digit})

    async def hang_up(self) -> None:
        await self.event("stop", stop={"accountSid": "AC0", "callSid": "CA0"})

    async def event(self, event: str, **fields: object) -> None:
        """Sends an event with its number."""
        self._sequence += 1
        message = {"event": event, "sequenceNumber": str(self._sequence), "streamSid": self.sid, **fields}
        await self.socket.send_str(json.dumps(message))

    async def take(self, message: aiohttp.WSMessage) -> None:
        assert message.type is aiohttp.WSMsgType.TEXT, "Twilio takes texts alone"
        fields = json.loads(message.data)
        takes: dict[str, Callable[[Fields], None]] = {"media": self._play, "clear": self._clear, "mark": self._mark}
        takes[fields["event"]](fields)
        if fields["event"] == "mark":
            await self.event("mark", mark=fields["mark"])

    def _play(self, fields: Fields) -> None:
        assert fields.keys() == {"event", "streamSid", "media"}
        assert fields["streamSid"] == self.sid
        assert fields["media"].keys() == {"payload"}
        self.hear(g711.decode_mulaw(base64.b64decode(fields["media"]["payload"], validate=True)))

    def _clear(self, fields: Fields) -> None:
        assert fields == {"event": "clear", "streamSid": self.sid}
        self.clears += 1

    def _mark(self, fields: Fields) -> None:
        assert fields.keys() == {"event", "streamSid", "mark"}
        assert fields["mark"].keys() == {"name"}
        self.marks.append(fields["mark"]["name"])

"""Twilio Media Streams, simulated: www.twilio.com/docs/voice/media-streams/websocket-messages."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

import aiohttp

from moshi_cluster.audio import g711
from moshi_cluster.audio.pcm import Samples
from tests.services.gateway.api.telephony.simulators.phone import Gateway
from tests.services.gateway.api.telephony.simulators.websocket_phone import WebSocketPhone

Fields = dict[str, Any]


class TwilioPhone(WebSocketPhone):
    """One stream of a bidirectional call."""

    wire = "twilio"
    stream_name = "streamSid"
    sequence_name = "sequenceNumber"
    sid = "MZ00112233445566778899aabbccddeeff"

    def __init__(self) -> None:
        super().__init__()
        self.marks: list[str] = []
        """Names of marks that came, each sent back at once: this phone plays what it hears in no time."""
        self.digits = ""
        """Keys that were sent to it."""
        self.echoes = True
        """Sends marks back."""
        self.tracks = ["inbound"]
        self._sequence = 0
        self._chunk = 0

    async def dial(self, gateway: Gateway, parameters: Mapping[str, str]) -> None:
        await self.connect(gateway)
        await self.send(json.dumps({"event": "connected", "protocol": "Call", "version": "1.0.0"}))
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
        await self.media(self._chunk, self.packet_ms * (self._chunk - 1), self.to_wire(samples))

    def lose(self, packets: int) -> None:
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
        numbered = {self.sequence_name: str(self._sequence), self.stream_name: self.sid}
        message = {"event": event, **numbered, **fields}
        await self.send(json.dumps(message))

    def to_wire(self, samples: Samples) -> bytes:
        """A packet of the caller's voice."""
        return g711.encode_mulaw(samples)

    def from_wire(self, data: bytes) -> Samples:
        """What is to be played."""
        return g711.decode_mulaw(data)

    async def take(self, message: aiohttp.WSMessage) -> None:
        assert message.type is aiohttp.WSMsgType.TEXT, "these systems take texts alone"
        marks = len(self.marks)
        self.check(json.loads(message.data))
        for name in self.marks[marks:]:
            if self.echoes:
                await self.send_played(name)

    def check(self, fields: Fields) -> None:
        """Takes a message, and nothing that is not in the documents."""
        event = fields.pop("event")
        assert fields.pop(self.stream_name) == self.sid
        if event == "media":
            assert fields.keys() == {"media"}
            assert fields["media"].keys() == {"payload"}
            self.hear(self.from_wire(base64.b64decode(fields["media"]["payload"], validate=True)))
        elif event == "mark":
            assert fields.keys() == {"mark"}
            assert fields["mark"].keys() == {"name"}
            self.marks.append(fields["mark"]["name"])
        else:
            assert (event, fields) == ("clear", {})
            self.clears += 1

    async def send_played(self, name: str) -> None:
        """Everything before this mark was played, or thrown away."""
        await self.event("mark", mark={"name": name})

"""Systems that copy Twilio Media Streams, simulated: Telnyx, Exotel, Plivo, Fonoster.

Telnyx: developers.telnyx.com, "Stream call media over WebSocket". Exotel: developer.exotel.com/docs/agentstream/
websocket-protocol. Plivo: plivo.com/docs/voice/audio-streaming. Fonoster: docs.fonoster.com/reference/
twilio-compatibility.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping

from moshi_cluster.audio import g711, pcm
from moshi_cluster.audio.pcm import Samples
from tests.services.gateway.api.telephony.simulators.media_streams import Fields, TwilioPhone
from tests.services.gateway.api.telephony.simulators.phone import Gateway


class FonosterPhone(TwilioPhone):
    """A stream with protocol twilio."""

    wire = "fonoster"


class TelnyxPhone(TwilioPhone):
    """Media streaming in the bidirectional mode rtp."""

    wire = "telnyx"
    stream_name = "stream_id"
    sequence_name = "sequence_number"

    def start(self, parameters: Mapping[str, str]) -> Fields:
        return {
            "user_id": "3e6f995f-85f7-4705-9741-53b116d28237",
            "call_control_id": "v2:T02llQxIyaRkhfRKxgAP8nY511EhFLizdvdUKJiSw8d6A9BborherQ",
            "media_format": {"encoding": "PCMU", "sample_rate": 8000, "channels": 1},
            "custom_parameters": dict(parameters),
        }

    async def press(self, digit: str) -> None:
        await self.event("dtmf", occurred_at="2026-01-01T00:00:00Z", dtmf={"digit": digit})


class ExotelPhone(TwilioPhone):
    """The Voicebot applet: 16-bit linear, a tenth of a second at a time; no less than 3200 bytes back, in steps of
    320."""

    wire = "exotel"
    packet_ms = 100
    stream_name = "stream_sid"
    sequence_name = "sequence_number"

    def start(self, parameters: Mapping[str, str]) -> Fields:
        media_format = {"encoding": "audio/x-raw", "sample_rate": "8000", "bit_rate": "16"}
        about = {"stream_sid": self.sid, "call_sid": "CA0", "account_sid": "AC0", "from": "+1", "to": "+2"}
        return {**about, "custom_parameters": dict(parameters), "media_format": media_format}

    def to_wire(self, samples: Samples) -> bytes:
        return pcm.encode_s16le(samples)

    def from_wire(self, data: bytes) -> Samples:
        assert len(data) >= 3200
        assert len(data) % 320 == 0
        return pcm.decode_s16le(data)


class PlivoPhone(TwilioPhone):
    """Audio streaming in both directions."""

    wire = "plivo"
    stream_name = "streamId"

    async def dial(self, gateway: Gateway, parameters: Mapping[str, str]) -> None:
        await self.connect(gateway)
        media_format = {"encoding": "audio/x-mulaw", "sampleRate": 8000}
        about = {"callId": "0", "streamId": self.sid, "accountId": "MA0", "tracks": ["inbound"]}
        headers = ";".join(f"{name}={value}" for name, value in parameters.items())
        await self.event("start", start={**about, "mediaFormat": media_format}, extra_headers=headers)

    async def hang_up(self) -> None:
        """The protocol has no word for it: the connection is closed."""
        await self.socket.close()

    def check(self, fields: Fields) -> None:
        event = fields.pop("event")
        if event == "playAudio":
            media = fields["media"]
            assert media.keys() == {"contentType", "sampleRate", "payload"}
            assert (media["contentType"], media["sampleRate"]) == ("audio/x-mulaw", 8000)
            self.hear(g711.decode_mulaw(base64.b64decode(media["payload"], validate=True)))
        elif event == "checkpoint":
            assert fields.keys() == {"streamId", "name"}
            self.marks.append(fields["name"])
        elif event == "clearAudio":
            assert fields == {"streamId": self.sid}
            self.clears += 1
        else:
            assert event == "sendDTMF"
            self.digits += fields["dtmf"]

    async def send_played(self, name: str) -> None:
        await self.send(json.dumps({"event": "playedStream", "streamId": self.sid, "name": name}))

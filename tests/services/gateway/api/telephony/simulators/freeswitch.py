"""FreeSWITCH's streaming modules, simulated: jambonz, mod_audio_fork and mod_audio_stream.

jambonz: docs.jambonz.org, verb "listen"; github.com/jambonz/freeswitch-modules, mod_audio_fork/README.md and
lws_glue.cpp. mod_audio_stream: github.com/amigniter/mod_audio_stream, README.md.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping

import aiohttp
import numpy as np

from moshi_cluster.audio.pcm import Samples
from tests.services.gateway.api.telephony.simulators.phone import Gateway
from tests.services.gateway.api.telephony.simulators.websocket_phone import WebSocketPhone


def s16le(samples: Samples) -> bytes:
    return np.clip(np.rint(samples * 32_768), -32_768, 32_767).astype("<i2").tobytes()


def of_s16le(data: bytes) -> Samples:
    assert len(data) % 2 == 0, "parts of samples"
    return np.frombuffer(data, "<i2").astype(np.float32) / np.float32(32_768)


class ModAudioForkPhone(WebSocketPhone):
    """A channel with mod_audio_fork. It plays what it hears in no time, so marks come back at once."""

    wire = "mod_audio_fork"
    protocols = ("audio.drachtio.org",)

    def __init__(self, rate_hz: int = 8_000) -> None:
        super().__init__()
        self.rate_hz = rate_hz
        self.marks: list[str] = []
        self.transfers: list[str] = []
        self.keeps_marks = False
        """Whether it is an older module, which does not know marks."""
        self.disconnects = 0

    def metadata(self, parameters: Mapping[str, str]) -> str:
        """What the dialplan says; without parameters nothing that means anything here."""
        return json.dumps({"sampleRate": self.rate_hz, **parameters}) if parameters else "hello"

    async def dial(self, gateway: Gateway, parameters: Mapping[str, str]) -> None:
        await self.connect(gateway, {"sampleRate": f"{self.rate_hz // 1000}k"})
        assert self.socket.protocol == self.protocols[0], "libwebsockets refuses another subprotocol"
        await self.send(self.metadata(parameters))

    async def say(self, samples: Samples) -> None:
        await self.send(s16le(samples))

    async def press(self, digit: str) -> None:
        await self.send(json.dumps({"event": "dtmf", "dtmf": digit, "duration": "1600"}))

    async def hang_up(self) -> None:
        """The module leaves with a goodbye of the WebSocket."""
        await self.socket.close()

    async def take(self, message: aiohttp.WSMessage) -> None:
        if message.type is aiohttp.WSMsgType.BINARY:
            samples = np.frombuffer(message.data, "<i2")
            assert not np.any(samples == -1), "the module takes a sample of -1 for a mark"
            self.hear(of_s16le(message.data))
            return
        assert message.type is aiohttp.WSMsgType.TEXT
        await self._take_command(json.loads(message.data))

    async def _take_command(self, fields: dict[str, object]) -> None:
        kind = fields["type"]
        assert fields.keys() == ({"type", "data"} if kind in ("mark", "transfer") else {"type"})
        data = fields.get("data", {})
        assert isinstance(data, dict)
        if kind == "mark":
            await self._mark(data["name"])
        elif kind == "killAudio":
            self.clears += 1
        elif kind == "transfer":
            self.transfers.append(data["to"])
        else:
            assert kind == "disconnect"
            self.disconnects += 1

    async def _mark(self, name: str) -> None:
        self.marks.append(name)
        if not self.keeps_marks:
            echo = {"type": "mark", "data": {"name": name, "event": "playout"}}
            await self.send(json.dumps(echo))


class JambonzPhone(ModAudioForkPhone):
    """A call of jambonz in its verb `listen`, with bidirectionalAudio.streaming and passDtmf."""

    wire = "jambonz"
    protocols = ("audio.jambonz.org",)

    def metadata(self, parameters: Mapping[str, str]) -> str:
        """The call's attributes, and those of the verb's own metadata."""
        call = {
            "callSid": "c5fd3e5c-7a4b-4ab8-9ba8-2b0d5f3f5d11",
            "direction": "inbound",
            "from": "+15083084809",
            "to": "+15083728299",
            "callId": "252c2ec7-4a9b-123a-5ba2-0a5b7e6d7e3f",
            "sipStatus": 200,
            "callStatus": "in-progress",
            "accountSid": "ed649e33-e771-403a-8c99-1780eabbc803",
            "applicationSid": "0e0681b0-d49f-4fb8-b973-b5a3c6758de1",
            "originatingSipIp": "192.0.2.5",
        }
        return json.dumps({"sampleRate": self.rate_hz, "mixType": "mono", **call, **parameters})


class ModAudioStreamPhone(WebSocketPhone):
    """A channel with mod_audio_stream."""

    wire = "mod_audio_stream"

    def __init__(self, rate_hz: int = 8_000, reply: str = "json", has_metadata: bool = True) -> None:
        super().__init__()
        self.rate_hz = rate_hz
        self._reply = reply
        self._has_metadata = has_metadata

    async def dial(self, gateway: Gateway, parameters: Mapping[str, str]) -> None:
        """Without metadata the parameters are the address's."""
        address = {"sampleRate": f"{self.rate_hz // 1000}k", "reply": self._reply}
        await self.connect(gateway, address if self._has_metadata else {**address, **parameters})
        if self._has_metadata:
            await self.send(json.dumps(dict(parameters)))

    async def say(self, samples: Samples) -> None:
        await self.send(s16le(samples))

    async def press(self, digit: str) -> None:
        """The module passes no keys on; a dialplan can, by `uuid_audio_stream UUID send_text`."""
        await self.send(json.dumps({"event": "dtmf", "dtmf": digit}))

    async def hang_up(self) -> None:
        await self.socket.close()

    async def take(self, message: aiohttp.WSMessage) -> None:
        if self._reply == "binary":
            assert message.type is aiohttp.WSMsgType.BINARY
            self.hear(of_s16le(message.data))
            return
        assert message.type is aiohttp.WSMsgType.TEXT
        fields = json.loads(message.data)
        assert fields.keys() == {"type", "data"}
        assert fields["type"] == "streamAudio"
        assert fields["data"].keys() == {"audioDataType", "sampleRate", "audioData"}
        assert (fields["data"]["audioDataType"], fields["data"]["sampleRate"]) == ("raw", self.rate_hz)
        self.hear(of_s16le(base64.b64decode(fields["data"]["audioData"], validate=True)))

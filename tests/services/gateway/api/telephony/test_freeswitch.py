"""FreeSWITCH's modules, message by message."""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest
from multidict import CIMultiDict

from moshi_cluster.services.common.errors import InvalidInput, Unsupported
from moshi_cluster.services.gateway.api.telephony.freeswitch import AudioForkWire, AudioStreamWire, audio_fork, jambonz
from moshi_cluster.services.gateway.api.telephony.wire import Control, Key, Opening, Played, Request, Voice, Wire
from moshi_cluster.services.gateway.audio.formats import AudioFormat, Encoding
from moshi_cluster.services.gateway.audio.framing import ReplyPacket
from moshi_cluster.services.gateway.calls.events import CallEvent, EventKind
from moshi_cluster.services.gateway.settings import GatewaySettings


def request(headers: dict[str, str] | None = None, **query: str) -> Request:
    return Request("192.0.2.1", headers=CIMultiDict(headers or {}), query=query)


def fork(**query: str) -> AudioForkWire:
    return AudioForkWire(request(**query), "audio.drachtio.org", has_transfer=True)


def stream(**query: str) -> AudioStreamWire:
    return AudioStreamWire(request(**query))


def opening(wire: Wire, message: str | bytes = "") -> Opening:
    first = wire.parse(message)[0]
    assert isinstance(first, Opening)
    return first


def s16le(rate_hz: int) -> AudioFormat:
    return AudioFormat(Encoding.PCM_S16LE, rate_hz)


def packet(*samples: int) -> ReplyPacket:
    return ReplyPacket(np.array(samples, "<i2").tobytes(), 0, len(samples), 0)


@pytest.mark.parametrize(
    ("metadata", "query", "spoken_hz", "heard_hz"),
    [
        ("", {}, 8_000, 8_000),
        ("no JSON", {}, 8_000, 8_000),
        ("[1]", {"sampleRate": "16k"}, 16_000, 16_000),
        ('{"sampleRate": 24000}', {"sampleRate": "16k"}, 24_000, 24_000),
        ('{"sampleRate": "16000"}', {}, 16_000, 16_000),
        ('{"sampleRate": 8000, "replySampleRate": 24000}', {}, 8_000, 24_000),
    ],
)
def test_the_rate_is_the_metadatas_then_the_addresss_then_the_usual_one(
    metadata: str, query: dict[str, str], spoken_hz: int, heard_hz: int
) -> None:
    found = opening(fork(**query), metadata)
    assert (found.input_format, found.output_format) == (s16le(spoken_hz), s16le(heard_hz))


@pytest.mark.parametrize(
    ("metadata", "field"),
    [
        ('{"sampleRate": 11025}', "sampleRate.sample_rate_hz"),
        ('{"sampleRate": "fast"}', "sampleRate"),
        ('{"sampleRate": true}', "sampleRate"),
        ('{"sampleRate": null}', "sampleRate"),
        ('{"replySampleRate": 64000}', "replySampleRate.sample_rate_hz"),
        ('{"mixType": "stereo"}', "mixType"),
        ('{"mixType": "mixed"}', "mixType"),
        ('{"seed": -1}', "seed"),
    ],
)
def test_what_cannot_be_is_refused_by_name(metadata: str, field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        fork().parse(metadata)
    assert refused.value.figures["field"] == field


def test_voice_without_metadata_begins_the_call_too() -> None:
    wire = stream(sampleRate="16k", label="hotline")
    begun, voice = wire.parse(b"\1\0")
    assert isinstance(begun, Opening)
    assert (begun.input_format, begun.options.label) == (s16le(16_000), "hotline")
    assert voice == Voice(b"\1\0")
    assert wire.parse(b"\2\0") == (Voice(b"\2\0"),)


def test_metadata_set_the_options_of_the_call() -> None:
    options = opening(fork(label="address"), '{"label": "metadata", "seed": 7, "callSid": "c5fd"}').options
    assert (options.label, options.seed) == ("metadata", 7)


def test_texts_after_the_metadata_are_keys_marks_or_the_dialplans_own() -> None:
    wire = fork()
    opening(wire)
    assert wire.parse('{"event": "dtmf", "dtmf": "5", "duration": "1600"}') == (Key("5"),)
    assert wire.parse('{"type": "mark", "data": {"name": "a1", "event": "cleared"}}') == (Played("a1"),)
    for other in ("bye", "{", '{"type": "playDone"}', "[" * 100_000):
        assert wire.parse(other) == (Control.UNKNOWN,)
    with pytest.raises(InvalidInput, match=r"^data\.name: must be text"):
        wire.parse('{"type": "mark", "data": {}}')


def test_a_sample_that_the_module_would_take_for_a_mark_is_silent() -> None:
    (sent,) = fork().audio(packet(-2, -1, 0, 1))
    assert np.frombuffer(sent, "<i2").tolist() == [-2, 0, 0, 1]


def test_commands_of_mod_audio_fork_are_those_of_its_documentation() -> None:
    wire = fork()
    (clear,) = wire.event(CallEvent(EventKind.CLEARED, 0))
    commands = [clear, *wire.mark("a1"), *wire.transfer("sip:1@example"), *wire.end(None)]
    assert [json.loads(command) for command in commands] == [
        {"type": "killAudio"},
        {"type": "mark", "data": {"name": "a1"}},
        {"type": "transfer", "data": {"to": "sip:1@example"}},
        {"type": "disconnect"},
    ]
    assert wire.event(CallEvent(EventKind.PAUSED, 0)) == ()


def test_what_a_module_cannot_do_is_unsupported() -> None:
    of_jambonz = jambonz(GatewaySettings())(request())
    for command in (of_jambonz.transfer, of_jambonz.send_digits, fork().send_digits, stream().transfer):
        with pytest.raises(Unsupported):
            command("1")


def test_subprotocols_are_the_modules() -> None:
    assert jambonz(GatewaySettings())(request()).subprotocols == ("audio.jambonz.org",)
    assert audio_fork(GatewaySettings())(request()).subprotocols == ("audio.drachtio.org",)
    assert not stream().subprotocols


def test_mod_audio_stream_plays_json_or_binary() -> None:
    wire = stream()
    opening(wire, '{"sampleRate": 16000}')
    (sent,) = wire.audio(packet(1, -1))
    fields = json.loads(sent)
    assert fields["type"] == "streamAudio"
    assert fields["data"]["audioDataType"] == "raw"
    assert fields["data"]["sampleRate"] == 16_000
    assert base64.b64decode(fields["data"]["audioData"]) == packet(1, -1).data
    assert stream(reply="binary").audio(packet(1, -1)) == (packet(1, -1).data,)
    with pytest.raises(InvalidInput, match=r"^reply: must be json or binary"):
        stream(reply="wav")


@pytest.mark.parametrize(
    ("header", "token"),
    [("Basic amFtYm9uejpzZWNyZXQ=", "secret"), ("basic amFtYm9uejpzZTpjcmV0", "se:cret"), ("Bearer secret", None)],
)
def test_the_password_is_the_token(header: str, token: str | None) -> None:
    assert AudioStreamWire(request({"Authorization": header})).token == token


@pytest.mark.parametrize("header", ["Basic %", "Basic /w==", "Basic amFtYm9ueg"])
def test_credentials_that_are_none_are_refused(header: str) -> None:
    with pytest.raises(InvalidInput, match=r"^Authorization: is no Basic credentials"):
        AudioStreamWire(request({"Authorization": header}))

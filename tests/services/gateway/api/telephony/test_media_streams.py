"""Messages of Twilio and its dialects: each field is checked and named, and what goes out is as documented."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from moshi_cluster.services.common.errors import InvalidInput, Unsupported
from moshi_cluster.services.gateway.api.telephony.media_streams import (
    EXOTEL,
    PLIVO,
    TELNYX,
    TWILIO,
    Dialect,
    MediaStreamsWire,
)
from moshi_cluster.services.gateway.api.telephony.wire import Control, Key, Opening, Played, Request, Voice
from moshi_cluster.services.gateway.audio.formats import AudioFormat, Encoding
from moshi_cluster.services.gateway.audio.framing import ReplyPacket
from moshi_cluster.services.gateway.calls.events import CallEvent, EventKind

FORMATS = {
    "streamSid": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
    "stream_id": {"encoding": "PCMA", "sample_rate": 8000, "channels": 1},
    "stream_sid": {"encoding": "audio/x-raw", "sample_rate": "16000", "bit_rate": "16"},
    "streamId": {"encoding": "audio/x-l16", "sampleRate": 16000},
}


def wire_of(dialect: Dialect, query: dict[str, str] | None = None) -> MediaStreamsWire:
    return MediaStreamsWire(dialect, Request("10.0.0.1", query=query or {}))


def start(dialect: Dialect, **fields: Any) -> str:
    about = {dialect.media_format: FORMATS[dialect.stream]} | fields
    return json.dumps({"event": "start", dialect.stream: "S", "start": about})


def begun(dialect: Dialect, **fields: Any) -> tuple[MediaStreamsWire, Opening]:
    wire = wire_of(dialect)
    (opening,) = wire.parse(start(dialect, **fields))
    assert isinstance(opening, Opening)
    return wire, opening


def media(**fields: Any) -> str:
    return json.dumps({"event": "media", "media": {"payload": base64.b64encode(b"ab").decode(), **fields}})


@pytest.mark.parametrize(
    ("dialect", "input_format", "output_format"),
    [
        (TWILIO, (Encoding.MULAW, 8000), (Encoding.MULAW, 8000)),
        (TELNYX, (Encoding.ALAW, 8000), (Encoding.MULAW, 8000)),
        (EXOTEL, (Encoding.PCM_S16LE, 16000), (Encoding.PCM_S16LE, 16000)),
        (PLIVO, (Encoding.PCM_S16LE, 16000), (Encoding.PCM_S16LE, 16000)),
    ],
)
def test_each_dialect_says_how_it_sounds(dialect: Dialect, input_format: Any, output_format: Any) -> None:
    _, opening = begun(dialect)
    assert (opening.input_format, opening.output_format) == (AudioFormat(*input_format), AudioFormat(*output_format))


def test_telnyx_may_be_answered_in_another_codec() -> None:
    _, opening = begun(TELNYX, custom_parameters={"reply_codec": "L16/16000"})
    assert opening.output_format == AudioFormat(Encoding.PCM_S16BE, 16000)
    with pytest.raises(InvalidInput, match="reply_codec: must be one of"):
        wire_of(TELNYX).parse(start(TELNYX, custom_parameters={"reply_codec": "AMR-WB"}))


def test_parameters_come_from_the_system_and_the_address() -> None:
    wire = wire_of(TWILIO, {"seed": "7", "label": "from the address"})
    (opening,) = wire.parse(
        start(TWILIO, customParameters={"label": "hotline", "text_prompt": "be brief", "theirs": 1})
    )
    options = opening.options  # type: ignore[union-attr]
    assert (options.label, options.seed, options.persona.text_prompt) == ("hotline", 7, "be brief")
    message = json.loads(start(PLIVO)) | {"extra_headers": "label=a b;token=secret"}
    (opening,) = wire_of(PLIVO).parse(json.dumps(message))
    assert (opening.options.label, opening.options.token) == ("a b", "secret")  # type: ignore[union-attr]


def test_a_token_may_come_in_a_header_of_the_systems_own() -> None:
    basic = {"Authorization": "Basic " + base64.b64encode(b"key:secret").decode()}
    assert MediaStreamsWire(EXOTEL, Request("10.0.0.1", headers=basic)).token == "secret"
    telnyx = {"x-telnyx-streaming-auth-token": "secret"}
    assert MediaStreamsWire(TELNYX, Request("10.0.0.1", headers=telnyx)).token == "secret"
    assert MediaStreamsWire(TWILIO, Request("10.0.0.1", headers=telnyx)).token is None


def test_what_the_caller_does_is_read() -> None:
    wire, _ = begun(TWILIO)
    assert wire.parse(media(track="inbound", chunk="5", timestamp="80")) == (Voice(b"ab", 5, 80),)
    assert wire.parse(media(track="outbound", chunk="6")) == ()
    assert wire.parse('{"event": "dtmf", "dtmf": {"track": "inbound_track", "digit": "#"}}') == (Key("#"),)
    assert wire.parse('{"event": "mark", "mark": {"name": "00ff"}}') == (Played("00ff"),)
    assert wire.parse('{"event": "tomorrow"}') == (Control.UNKNOWN,)
    assert wire.parse('{"event": "stop", "stop": {}}') == (Control.END,)
    wire, _ = begun(PLIVO)
    assert wire.parse('{"event": "playedStream", "name": "1"}') == (Played("1"),)
    assert wire.parse(media(track="inbound", chunk=5, timestamp="1760000000000")) == (Voice(b"ab", 5, None),)


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        (b"\0", "message: must be a text with a JSON object"),
        ("[" * 100_000, "message: must be"),
        ("[]", "message: must be"),
        ("{}", "event: must be text"),
        ('{"event": "start"}', "event: must be start only once"),
        ('{"event": "media"}', "media: must be an object"),
        ('{"event": "media", "media": {"payload": 1}}', "media.payload: must be text"),
        ('{"event": "media", "media": {"payload": "%"}}', "media.payload: must be base64"),
        (media(chunk="-1"), "media.chunk: must be a whole number"),
        (media(chunk=True), "media.chunk: must be a whole number"),
        (media(timestamp="1" * 30), "media.timestamp: must be a whole number"),
        ('{"event": "dtmf", "dtmf": []}', "dtmf: must be an object"),
        ('{"event": "mark", "mark": {}}', "mark.name: must be text"),
    ],
)
def test_what_is_wrong_is_named(message: str | bytes, problem: str) -> None:
    wire, _ = begun(TWILIO)
    with pytest.raises(InvalidInput, match=problem):
        wire.parse(message)


def test_what_is_wrong_with_the_start_is_named() -> None:
    for fields, problem in (
        ({"mediaFormat": None}, "mediaFormat: must be an object"),
        ({"mediaFormat": {"encoding": "opus"}}, r"start\.mediaFormat\.encoding: must be one of"),
        ({"mediaFormat": {"encoding": "audio/x-mulaw"}}, r"start\.mediaFormat\.sampleRate: must be a whole number"),
        ({"mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 16000}}, "sample_rate_hz: must be 8000"),
        ({"customParameters": {"seed": "one"}}, "seed: must be a whole number"),
    ):
        with pytest.raises(InvalidInput, match=problem):
            wire_of(TWILIO).parse(start(TWILIO, **fields))
    with pytest.raises(InvalidInput, match="event: must be start before anything else"):
        wire_of(TWILIO).parse(media())


def test_what_goes_out_is_as_each_system_has_it() -> None:
    packet, cleared = ReplyPacket(b"ab", 0, 2, 0), CallEvent(EventKind.CLEARED, 0)
    wire, _ = begun(TWILIO)
    sent = [*wire.audio(packet), *wire.mark("07"), *wire.event(cleared), *wire.event(CallEvent(EventKind.STATUS, 0))]
    assert list(map(json.loads, map(str, sent))) == [
        {"event": "media", "streamSid": "S", "media": {"payload": "YWI="}},
        {"event": "mark", "streamSid": "S", "mark": {"name": "07"}},
        {"event": "clear", "streamSid": "S"},
    ]
    with pytest.raises(Unsupported):
        wire.send_digits("1")
    wire, _ = begun(PLIVO)
    sent = [*wire.audio(packet), *wire.mark("07"), *wire.event(cleared), *wire.send_digits("1#")]
    media_out = {"payload": "YWI=", "contentType": "audio/x-l16", "sampleRate": 16000}
    assert list(map(json.loads, map(str, sent))) == [
        {"event": "playAudio", "streamId": "S", "media": media_out},
        {"event": "checkpoint", "streamId": "S", "name": "07"},
        {"event": "clearAudio", "streamId": "S"},
        {"event": "sendDTMF", "streamId": "S", "dtmf": "1#"},
    ]


def test_exotel_is_sent_no_less_than_it_plays_and_what_waits_for_that_is_cleared_too() -> None:
    wire, _ = begun(EXOTEL)
    packet = ReplyPacket(bytes(2560), 0, 1280, 0)
    assert wire.audio(packet) == ()
    (message,) = wire.audio(packet)
    assert len(base64.b64decode(json.loads(str(message))["media"]["payload"])) == 5120
    wire.audio(packet)
    wire.event(CallEvent(EventKind.CLEARED, 0))
    assert wire.audio(packet) == ()

"""Asterisk's chan_websocket: what its messages mean, and what it gets."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from moshi_cluster.services.common.errors import InvalidInput, Unsupported
from moshi_cluster.services.gateway.api.telephony.chan_websocket import ChanWebSocket
from moshi_cluster.services.gateway.api.telephony.wire import Control, Key, Opening, Played, Request, Voice
from moshi_cluster.services.gateway.audio.formats import AudioFormat, Encoding
from moshi_cluster.services.gateway.audio.framing import ReplyPacket
from moshi_cluster.services.gateway.calls.events import CallEvent, EventKind
from tests.services.gateway.api.telephony.simulators.asterisk_queue import AsteriskQueue

PACKET = ReplyPacket(bytes(960), 0, 480, 0)
CLEARED = CallEvent(EventKind.CLEARED, 0)


def start(**changes: Any) -> str:
    """As a real Asterisk 22.9 says it."""
    parameters: dict[str, Any] = {
        "event": "MEDIA_START",
        "connection_id": "moshi",
        "channel": "WebSocket/moshi/0x7fb924004db0",
        "channel_id": "1795735557.2",
        "format": "slin24",
        "optimal_frame_size": 960,
        "ptime": 20,
        "channel_variables": {"MEDIA_WEBSOCKET_CONNECTION_ID": "moshi"},
    }
    return json.dumps(parameters | changes)


def wire(headers: dict[str, str] | None = None, **query: str) -> ChanWebSocket:
    return ChanWebSocket(Request("10.0.0.1", "/telephony/asterisk", headers or {}, query))


def opened(message: str) -> ChanWebSocket:
    one = wire()
    assert isinstance(one.parse(message)[0], Opening)
    return one


def opening(message: str, **query: str) -> Opening:
    (item,) = wire(**query).parse(message)
    assert isinstance(item, Opening)
    return item


@pytest.mark.parametrize(
    ("name", "encoding", "rate_hz", "frame_bytes"),
    [
        ("ulaw", Encoding.MULAW, 8_000, 160),
        ("alaw", Encoding.ALAW, 8_000, 160),
        ("g722", Encoding.G722, 16_000, 160),
        ("slin", Encoding.PCM_S16LE, 8_000, 320),
        ("slin12", Encoding.PCM_S16LE, 12_000, 480),
        ("slin16", Encoding.PCM_S16LE, 16_000, 640),
        ("slin24", Encoding.PCM_S16LE, 24_000, 960),
        ("slin32", Encoding.PCM_S16LE, 32_000, 1280),
        ("slin44", Encoding.PCM_S16LE, 44_100, 1764),
        ("slin48", Encoding.PCM_S16LE, 48_000, 1920),
    ],
)
def test_a_call_sounds_as_asterisk_says(name: str, encoding: Encoding, rate_hz: int, frame_bytes: int) -> None:
    begun = opening(start(format=name, optimal_frame_size=frame_bytes))
    assert begun.input_format == begun.output_format == AudioFormat(encoding, rate_hz)
    assert begun.packet_ms == 20
    assert begun.paced


def test_an_earlier_asterisk_names_neither_ptime_nor_channel() -> None:
    begun = opening("MEDIA_START connection_id:e2 channel:WebSocket/e2 format:ulaw optimal_frame_size:160")
    assert begun.input_format.encoding is Encoding.MULAW
    assert begun.packet_ms == 20


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"format": "opus"}, "MEDIA_START.format"),
        ({"format": None}, "MEDIA_START.format"),
        ({"ptime": 15}, "MEDIA_START.ptime"),
        ({"ptime": "20ms"}, "MEDIA_START.ptime"),
        ({"optimal_frame_size": 0}, "MEDIA_START.optimal_frame_size"),
        ({"optimal_frame_size": 480}, "MEDIA_START.optimal_frame_size"),
        ({"channel_variables": "x"}, "MEDIA_START.channel_variables"),
        ({"channel_variables": {"MOSHI_SEED": "x"}}, "seed"),
        ({"channel_variables": {"MOSHI_SEED": {}}}, "seed"),
    ],
)
def test_a_start_that_cannot_be_is_refused_by_name(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        wire().parse(start(**changes))
    assert refused.value.field == field


def test_a_second_start_is_refused() -> None:
    one = opened(start())
    with pytest.raises(InvalidInput, match="MEDIA_START: must come once"):
        one.parse(start())


def test_variables_of_the_channel_carry_the_options_inherited_or_not() -> None:
    variables = {"__MOSHI_SEED": "7", "_MOSHI_VOICE": "anna", "MOSHI_LABEL": "desk", "SEED": "9"}
    options = opening(start(channel_variables=variables)).options
    assert (options.seed, options.persona.voice, options.label) == (7, "anna", "desk")


def test_variables_go_before_the_address_which_asterisk_keeps_for_later_calls() -> None:
    options = opening(start(channel_variables={"MOSHI_LABEL": "mine"}), label="of-an-earlier-call", seed="3").options
    assert (options.label, options.seed) == ("mine", 3)


def test_the_password_of_the_connection_is_the_token() -> None:
    header = "Basic " + base64.b64encode(b"asterisk:s3cr:et").decode()
    assert wire({"Authorization": header}).token == "s3cr:et"
    assert wire({"Authorization": "Bearer x"}).token is None
    assert wire().token is None


@pytest.mark.parametrize("encoded", ["%", "////", "w", "ä"])
def test_credentials_that_are_none_are_refused(encoded: str) -> None:
    with pytest.raises(InvalidInput, match="^Authorization:"):
        wire({"Authorization": f"Basic {encoded}"})


def test_voice_before_the_start_is_heard_behind_it() -> None:
    one = wire()
    assert one.parse(b"\x01\x00") == ()
    assert one.parse(b"\x02\x00") == ()
    first, *voice = one.parse(start())
    assert isinstance(first, Opening)
    assert voice == [Voice(b"\x01\x00"), Voice(b"\x02\x00")]
    assert one.parse(b"\x03\x00") == (Voice(b"\x03\x00"),)


def test_voice_without_a_start_is_bounded() -> None:
    one = wire()
    for _ in range(100):
        one.parse(bytes(960))
    with pytest.raises(InvalidInput, match="^MEDIA_START:"):
        one.parse(bytes(960))


def test_an_empty_message_is_no_voice() -> None:
    assert wire().parse(b"") == ()
    assert opened(start()).parse(b"") == ()


@pytest.mark.parametrize("is_json", [True, False])
def test_a_mark_is_played_when_asterisk_has_played_what_came_before(is_json: bool) -> None:
    line = "MEDIA_START channel:WebSocket/moshi/0x7 format:slin24 optimal_frame_size:960 ptime:20"
    one, far = opened(start() if is_json else line), AsteriskQueue(960, is_json)
    for message in (*one.audio(PACKET), *one.mark("01"), *one.audio(PACKET), *one.mark("02")):
        far.take(message)
    assert far.tick() is not None
    assert far.events == []
    assert far.tick() is not None
    assert [item for event in far.events for item in one.parse(event)] == [Played("01")]


def test_a_mark_that_passed_stands_for_those_before_it() -> None:
    one = opened(start())
    one.mark("01"), one.mark("02"), one.mark("03")
    assert one.parse('{"event":"MEDIA_MARK_PROCESSED","correlation_id":"02"}') == (Played("01"), Played("02"))
    assert one.parse('{"event":"MEDIA_MARK_PROCESSED","correlation_id":"02"}') == ()


def test_what_is_cleared_is_thrown_away_there_and_its_marks_are_over() -> None:
    one, far = opened(start()), AsteriskQueue(960)
    for message in (*one.audio(PACKET), *one.mark("01"), *one.event(CLEARED), *one.audio(PACKET)):
        far.take(message)
    assert far.length == 1
    assert [far.tick() is None for _ in range(2)] == [False, True]
    assert [item for event in far.events for item in one.parse(event)] == [Played("01")]


def test_other_events_of_a_call_mean_nothing_to_asterisk() -> None:
    assert opened(start()).event(CallEvent(EventKind.FILLED, 0, 1)) == ()


def test_asterisk_holds_voice_back_and_lets_it_go_on() -> None:
    one = opened(start())
    assert one.parse('{"event":"MEDIA_XOFF","channel_id":"1"}') == (Control.HOLD,)
    assert one.parse('{"event":"MEDIA_XON","channel_id":"1"}') == (Control.GO_ON,)


def test_a_key_is_a_key_and_what_is_not_known_is_counted() -> None:
    one = opened(start())
    assert one.parse('{"event":"DTMF_END","channel_id":"1","digit":"#"}') == (Key("#"),)
    assert one.parse('{"event":"MEDIA_FUTURE","channel_id":"1"}') == (Control.UNKNOWN,)
    assert one.parse('{"event":"ERROR","error_text":"MARK_MEDIA not supported"}') == (Control.UNKNOWN,)
    with pytest.raises(InvalidInput, match=r"^DTMF_END\.digit"):
        one.parse('{"event":"DTMF_END","channel_id":"1"}')


def test_a_channel_in_passthrough_is_asked_for_nothing_that_it_refuses_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    one = opened(start())
    assert one.mark("01")
    for _ in range(3):
        one.parse('{"event":"ERROR","error_text":"MARK_MEDIA not supported in passthrough mode"}')
    assert one.mark("02") == ()
    assert one.event(CLEARED) == ()
    assert one.audio(PACKET) == (PACKET.data,)
    assert len(caplog.records) == 1


def test_a_call_is_answered_once_it_is_up_and_hung_up_at_its_end() -> None:
    one, far = opened(start()), AsteriskQueue(960)
    for message in one.started(None):  # type: ignore[arg-type]
        far.take(message)
    assert far.is_answered
    for message in one.end(None):
        far.take(message)
    assert far.is_hung_up


def test_asterisk_neither_transfers_nor_sends_keys_for_an_application() -> None:
    with pytest.raises(Unsupported):
        wire().transfer("sip:operator@example.org")
    with pytest.raises(Unsupported):
        wire().send_digits("1")


def test_what_stands_in_its_queue_for_seconds_is_made_up_for_by_leaving_packets_out() -> None:
    one, far = opened(start()), AsteriskQueue(960)
    for _ in range(25):  # half a second too much, as after a stall
        far.take(PACKET.data)
    lengths = []
    for _ in range(1_000):
        for message in one.audio(PACKET):
            far.take(message)
        for event in far.events:
            one.parse(event)
        far.events.clear()
        far.tick()
        lengths.append(far.length)
    assert lengths[0] == 25
    assert lengths[-1] == 1
    assert lengths[-900:] == [1] * 900  # and no further


def test_a_queue_that_was_empty_once_is_left_alone() -> None:
    one, far = opened(start()), AsteriskQueue(960)
    for number in range(1_000):
        for message in one.audio(PACKET):
            far.take(message)
        for event in far.events:
            one.parse(event)
        far.events.clear()
        if number % 100 >= 5:  # a jitter of five packets, every two seconds
            far.tick()
        if number % 100 >= 95:
            far.tick()
    assert far.length <= 5

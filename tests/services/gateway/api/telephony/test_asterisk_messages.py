"""Control messages of chan_websocket, as a real Asterisk 22.9 sent them."""

from __future__ import annotations

import pytest

from moshi_cluster.services.common.errors import InvalidInput
from moshi_cluster.services.gateway.api.telephony.asterisk_messages import MOST_COMMAND_BYTES, command, parse_event

JSON_START = (
    '{"event":"MEDIA_START","connection_id":"moshi","channel":"WebSocket/moshi/0x7fb924004db0",'
    '"channel_id":"1795735557.2","format":"slin24","optimal_frame_size":960,"ptime":20,'
    '"channel_variables":{"MEDIA_WEBSOCKET_CONNECTION_ID":"moshi","__MOSHI_SEED":"7"}}'
)
LINE_START = (
    "MEDIA_START connection_id:moshi channel:WebSocket/moshi/0x7fb908003a60 channel_id:1795735567.5"
    " format:slin16 optimal_frame_size:640 ptime:20"
)


@pytest.mark.parametrize(("message", "name"), [(JSON_START, "slin24"), (LINE_START, "slin16")])
def test_a_start_says_how_the_call_sounds_in_either_form(message: str, name: str) -> None:
    event = parse_event(message)
    assert event.name == "MEDIA_START"
    assert event.is_json == message.startswith("{")
    assert event.text("format") == name
    assert event.text("channel").startswith("WebSocket/moshi/0x")
    assert event.number("ptime") == 20
    assert event.number("optimal_frame_size") in (960, 640)


@pytest.mark.parametrize(
    ("line", "parameters"),
    [
        ("MEDIA_XOFF", {}),
        ("QUEUE_DRAINED", {}),
        ("DTMF_END digit:# channel_id:1795735567.5", {"digit": "#", "channel_id": "1795735567.5"}),
        ("MEDIA_MARK_PROCESSED a b", {"correlation_id": "a b"}),
        ("MEDIA_BUFFERING_COMPLETED", {"correlation_id": ""}),
        (
            "ERROR channel_id:1795735567.5 error_text:MARK_MEDIA not supported in passthrough mode",
            {"channel_id": "1795735567.5", "error_text": "MARK_MEDIA not supported in passthrough mode"},
        ),
        ("STATUS queue_length:2 queue_full:false", {"queue_length": "2", "queue_full": "false"}),
    ],
)
def test_a_line_has_its_parameters_by_name(line: str, parameters: dict[str, str]) -> None:
    event = parse_event(line)
    assert event.name == line.split(" ")[0]
    assert event.parameters == parameters


@pytest.mark.parametrize(
    "message", ["", " ", "{", "{}", '{"event":7}', "[1]", "\x00\x01", "7 digit:1", "{" * 5000, '{"event":' + "[" * 9000]
)
def test_what_is_no_event_is_refused_by_name(message: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_event(message)
    assert refused.value.field in ("message", "event")


@pytest.mark.parametrize("value", ['"x"', "true", "-1", "1.5", "null", "[]", "12345678901", '"１"'])
def test_a_number_that_is_none_is_refused_by_name(value: str) -> None:
    event = parse_event('{"event":"STATUS","queue_length":' + value + "}")
    with pytest.raises(InvalidInput, match=r"^STATUS\.queue_length:"):
        event.number("queue_length")


def test_commands_are_written_as_asterisk_reads_them() -> None:
    assert command("ANSWER", is_json=True) == '{"command":"ANSWER"}'
    assert command("MARK_MEDIA", True, "a1") == '{"command":"MARK_MEDIA","correlation_id":"a1"}'
    assert command("ANSWER", is_json=False) == "ANSWER"
    assert command("MARK_MEDIA", False, "a1") == "MARK_MEDIA a1"


def test_a_command_that_asterisk_would_pass_over_is_never_written() -> None:
    longest = "x" * (MOST_COMMAND_BYTES - len("MARK_MEDIA "))
    assert len(command("MARK_MEDIA", False, longest)) == MOST_COMMAND_BYTES
    with pytest.raises(ValueError, match="correlation_id"):
        command("MARK_MEDIA", False, longest + "x")

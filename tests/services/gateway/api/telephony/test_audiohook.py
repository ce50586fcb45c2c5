"""AudioHook, message by message."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest
from multidict import CIMultiDict

from moshi_cluster.services.common.errors import CallerLost, InvalidInput, NoFreeSlot, Unauthenticated, Unsupported
from moshi_cluster.services.gateway.api.telephony.audiohook import AudioHookWire
from moshi_cluster.services.gateway.api.telephony.wire import Answer, Control, Incoming, Key, Opening, Request, Voice
from moshi_cluster.services.gateway.audio.formats import AudioFormat, Encoding
from moshi_cluster.services.gateway.audio.framing import ReplyPacket
from moshi_cluster.services.gateway.calls.events import CallEvent, EventKind
from tests.services.gateway.api.telephony.simulators.audiohook import BOTH, EXTERNAL, NO_ID, ORGANIZATION

SESSION = "30b0e395-84d3-4570-ac13-9a62d8f514c0"
BEFORE = "40b0e395-84d3-4570-ac13-9a62d8f514c0"
MULAW = AudioFormat(Encoding.MULAW, 8_000)


class Session:
    """A wire, and the client's numbers."""

    def __init__(self, **headers: str) -> None:
        given = CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()})
        self.wire = AudioHookWire(Request("192.0.2.1", headers=given, query={}), is_authenticated=False)
        self.seq = 0
        self.serverseq = 0

    def tell(self, kind: str, changes: dict[str, Any] | None = None, **parameters: Any) -> list[Incoming]:
        self.seq += 1
        numbers = {"seq": self.seq, "serverseq": self.serverseq, "position": "PT1.5S"}
        message = {"version": "2", "type": kind, "id": SESSION, **numbers, "parameters": parameters}
        return list(self.wire.parse(json.dumps(message | (changes or {}))))

    def open(self, media: list[Any] | None = None, **parameters: Any) -> Opening:
        opening = {"organizationId": ORGANIZATION, "conversationId": BEFORE, "media": media or [EXTERNAL]}
        (found,) = self.tell("open", **opening | parameters)
        assert isinstance(found, Opening)
        return found

    def up(self, media: list[Any] | None = None) -> Session:
        self.open(media)
        self.hear(self.wire.started(cast(Any, None)))
        return self

    def hear(self, messages: Any) -> dict[str, Any]:
        """The one message, which is numbered next."""
        (message,) = messages
        fields = json.loads(message.write() if isinstance(message, Answer) else message)
        self.serverseq += 1
        assert (fields["version"], fields["id"], fields["seq"]) == ("2", SESSION, self.serverseq)
        assert fields["clientseq"] == self.seq
        return {"type": fields["type"], **fields["parameters"]}


def reply(size: int) -> ReplyPacket:
    return ReplyPacket(bytes(size), 0, size, 0)


def test_open_begins_a_call_and_is_answered_when_that_is_up() -> None:
    session = Session()
    opening = session.open(inputVariables={"label": "flow", "seed": "7"}, customConfig={"label": "integration"})
    assert (opening.input_format, opening.output_format, opening.paced) == (MULAW, MULAW, False)
    assert (opening.options.label, opening.options.seed) == ("flow", 7)
    assert (opening.options.key, opening.options.resume) == (SESSION, None)
    answer = session.hear(session.wire.started(cast(Any, None)))
    assert answer == {"type": "opened", "startPaused": False, "media": [EXTERNAL]}


@pytest.mark.parametrize(
    ("offers", "chosen"),
    [
        ([BOTH, EXTERNAL], EXTERNAL),
        ([{**EXTERNAL, "format": "L16"}, EXTERNAL], EXTERNAL),
        ([{**EXTERNAL, "format": "L16"}, BOTH], {**EXTERNAL, "format": "L16"}),
        ([{**EXTERNAL, "channels": ["internal"]}, BOTH], BOTH),
        (["nonsense", {"type": "video"}, {**EXTERNAL, "rate": 16000}, {**EXTERNAL, "format": []}, BOTH], BOTH),
    ],
)
def test_the_caller_alone_in_mulaw_is_taken_first(offers: list[Any], chosen: dict[str, Any]) -> None:
    session = Session()
    session.open(offers)
    assert session.hear(session.wire.started(cast(Any, None)))["media"] == [chosen]


@pytest.mark.parametrize(
    ("media", "sent", "heard"),
    [
        (BOTH, b"CACACA", b"CCC"),
        ({**BOTH, "channels": ["internal", "external"]}, b"ACACAC", b"CCC"),
        ({**BOTH, "format": "L16"}, b"C1A1C2A2", b"C1C2"),
    ],
)
def test_of_two_voices_the_callers_is_heard(media: dict[str, Any], sent: bytes, heard: bytes) -> None:
    wire = Session().up([media]).wire
    assert [cast(Voice, voice).data for voice in wire.parse(sent)] == [heard]
    with pytest.raises(InvalidInput, match=r"^audio\.data: must be whole samples of all channels"):
        wire.parse(sent + b"x")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"version": "1"}, "version"),
        ({"id": "no"}, "id"),
        ({"id": BEFORE}, "id"),
        ({"seq": 9}, "seq"),
        ({"seq": "x"}, "seq"),
        ({"serverseq": 9}, "serverseq"),
        ({"position": "1.5"}, "position"),
        ({"position": "PT1e9S"}, "position"),
        ({"parameters": []}, "parameters"),
        ({"type": 5}, "type"),
    ],
)
def test_a_message_that_is_out_of_order_or_malformed_is_refused_by_name(changes: dict[str, Any], field: str) -> None:
    session = Session().up()
    with pytest.raises(InvalidInput) as refused:
        session.tell("ping", changes)
    assert refused.value.figures["field"] == field


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ({"organizationId": "x"}, "parameters.organizationId"),
        ({"conversationId": 1}, "parameters.conversationId"),
        ({"media": []}, "parameters.media"),
        ({"media": {}}, "parameters.media"),
        ({"continuedSessions": {}}, "parameters.continuedSessions"),
        ({"continuedSessions": [{}]}, "parameters.continuedSessions.id"),
        ({"continuedSessions": [1]}, "parameters.continuedSessions.id"),
        ({"inputVariables": []}, "inputVariables"),
        ({"inputVariables": {"seed": "x"}}, "seed"),
    ],
)
def test_an_open_that_cannot_be_is_refused_by_name(parameters: dict[str, Any], field: str) -> None:
    opening = {"organizationId": ORGANIZATION, "conversationId": BEFORE, "media": [EXTERNAL]}
    with pytest.raises(InvalidInput) as refused:
        Session().tell("open", **opening | parameters)
    assert refused.value.figures["field"] == field


def test_the_session_and_the_organization_are_those_that_the_request_named() -> None:
    with pytest.raises(InvalidInput, match=r"^id: must be that of the session"):
        Session(Audiohook_Session_Id=BEFORE).open()
    with pytest.raises(Unauthenticated):
        Session(Audiohook_Organization_Id=BEFORE).open()
    assert Session(Audiohook_Session_Id=SESSION.upper(), Audiohook_Organization_Id=ORGANIZATION.upper()).open()


def test_nothing_comes_before_open_and_no_voice_before_opened() -> None:
    with pytest.raises(InvalidInput, match=r"^type: must be open before"):
        Session().tell("dtmf", digit="5")
    session = Session()
    with pytest.raises(InvalidInput, match=r"^audio\.data: must not come before"):
        session.wire.parse(b"\xff")
    session.open()
    with pytest.raises(InvalidInput, match=r"^audio\.data: must not come before"):
        session.wire.parse(b"\xff")
    with pytest.raises(InvalidInput, match=r"^type: must be open only once"):
        session.open()


def test_a_probe_is_opened_without_a_call() -> None:
    session = Session()
    opened = session.tell("open", organizationId=ORGANIZATION, conversationId=NO_ID, media=[EXTERNAL])
    assert session.hear(opened)["type"] == "opened"
    assert session.tell("close", reason="end") == [Control.END]
    assert session.hear(session.wire.end(None)) == {"type": "closed"}


def test_answers_are_numbered_when_they_leave() -> None:
    session = Session().up()
    (pong,), (updated,) = session.tell("ping"), session.tell("update", language="de-DE")
    assert session.hear(session.wire.event(CallEvent(EventKind.CLEARED, 0)))["type"] == "event"
    assert session.hear([pong]) == {"type": "pong"}
    assert session.hear([updated]) == {"type": "updated"}


def test_what_else_is_told_is_understood_or_passed_over() -> None:
    session = Session().up()
    assert session.tell("dtmf", digit="#") == [Key("#")]
    assert session.tell("paused") == [Control.PAUSE]
    assert session.tell("resumed", start="PT1S", discarded="PT2S") == [Control.RESUME]
    assert session.tell("discarded", start="PT3S", discarded="PT0.5S") == []
    assert session.tell("playback_started") == session.tell("playback_completed") == []
    assert session.tell("error", code=429, message="slow down") == [Control.UNKNOWN]
    assert session.tell("tomorrow") == [Control.UNKNOWN]


def test_voice_leaves_in_messages_of_1600_bytes_and_the_rest_before_the_end() -> None:
    wire = Session().up().wire
    sent = [len(message) for _ in range(12) for message in wire.audio(reply(320))]
    assert sent == [1600, 1600]
    rest, asked = wire.ask_to_close(None)
    assert len(rest) == 12 * 320 - 3200
    assert json.loads(asked)["parameters"] == {"reason": "completed"}
    assert wire.end(None) == ()


def test_what_is_cleared_is_not_sent() -> None:
    session = Session().up()
    session.wire.audio(reply(320))
    cleared = session.hear(session.wire.event(CallEvent(EventKind.CLEARED, 0)))
    assert cleared == {"type": "event", "entities": [{"type": "barge_in", "data": {}}]}
    assert session.wire.event(CallEvent(EventKind.PAUSED, 0)) == ()
    assert len(session.wire.ask_to_close(None)) == 1


def test_errors_are_told_by_reason_and_text() -> None:
    (told_nobody,) = Session().wire.ask_to_close(InvalidInput("message", "must be a text with a JSON object"))
    assert json.loads(cast(str, told_nobody))["id"] == NO_ID
    for error, reason in ((NoFreeSlot("no free slot"), "error"), (Unauthenticated("no token"), "unauthorized")):
        session = Session().up()
        told = session.hear(session.wire.ask_to_close(error))
        assert told == {"type": "disconnect", "reason": reason, "info": str(error)}


def test_a_session_that_was_closed_is_closed_and_says_nothing_more() -> None:
    session = Session().up()
    assert session.tell("close", reason="end") == [Control.END]
    assert session.wire.audio(reply(1600)) == ()
    assert session.wire.ask_to_close(None) == ()
    assert session.hear(session.wire.end(None)) == {"type": "closed"}


def test_a_session_that_is_to_come_back_is_lost_and_the_next_one_names_it() -> None:
    with pytest.raises(CallerLost):
        Session().up().tell("close", reason="reconnect")
    before = [{"id": NO_ID, "serverseq": 1, "clientseq": 1}, {"id": BEFORE, "serverseq": 3, "clientseq": 2}]
    assert Session().open(continuedSessions=before).options.resume == BEFORE


def test_a_transfer_ends_the_session_with_variables_of_the_flow() -> None:
    session = Session().up()
    told = session.hear(session.wire.transfer("+15551234"))
    assert told["outputVariables"] == {"action": "transfer", "transfer_to": "+15551234"}
    assert (told["type"], told["reason"]) == ("disconnect", "completed")
    with pytest.raises(Unsupported):
        session.wire.send_digits("1")

"""AudioSocket: what its messages mean, however TCP cuts them, and what Asterisk gets."""

from __future__ import annotations

import contextlib
import json
import uuid
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moshi_cluster.services.common.errors import CallerLost, InvalidInput, SessionError, Unsupported
from moshi_cluster.services.common.settings import SettingError
from moshi_cluster.services.gateway.api.telephony.audiosocket import EVERY_OTHER, AudioSocket, read_profiles
from moshi_cluster.services.gateway.api.telephony.options import CallOptions
from moshi_cluster.services.gateway.api.telephony.wire import Control, Incoming, Key, Opening, Voice
from moshi_cluster.services.gateway.audio.formats import AudioFormat, Encoding
from moshi_cluster.services.gateway.audio.framing import ReplyPacket

NAME = uuid.UUID("40325ec2-5efd-4bd3-805f-53576e581d13")
IDENTITY = b"\x01\x00\x10" + NAME.bytes
VOICE_8 = b"\x10\x01\x40" + bytes(320)
HANG_UP = b"\x00\x00\x00"


def items(data: bytes, wire: AudioSocket | None = None) -> list[Incoming]:
    return list((wire or AudioSocket({})).parse(data))


@pytest.mark.parametrize(
    ("kind", "rate_hz", "packet_ms"),
    [
        (0x10, 8_000, 20),
        (0x11, 12_000, 20),
        (0x12, 16_000, 20),
        (0x13, 24_000, 20),
        (0x14, 32_000, 20),
        (0x15, 44_100, 10),
        (0x16, 48_000, 10),
    ],
)
def test_the_first_voice_says_how_the_call_sounds(kind: int, rate_hz: int, packet_ms: int) -> None:
    wire = AudioSocket({})
    begun, voice = items(IDENTITY + bytes([kind, 0, 2, 5, 0]), wire)
    assert begun == Opening(*[AudioFormat(Encoding.PCM_S16LE, rate_hz)] * 2, packet_ms, CallOptions(label=str(NAME)))
    assert voice == Voice(b"\x05\x00")
    packet_bytes = rate_hz * packet_ms * 2 // 1000
    (message,) = wire.audio(ReplyPacket(bytes(packet_bytes), 0, packet_bytes // 2, 0))
    assert message[:3] == bytes([kind]) + packet_bytes.to_bytes(2, "big")
    assert len(message) == 3 + packet_bytes <= 1460 - 40  # one segment: its rest would come too late


@settings(max_examples=30)
@given(st.lists(st.integers(1, 200), max_size=12))
def test_where_tcp_cuts_changes_nothing(cuts: list[int]) -> None:
    data = IDENTITY + b"\x03\x00\x01#" + VOICE_8 + b"\x03\x00\x015" + VOICE_8 + b"\x77\x00\x03abc" + HANG_UP
    wire = AudioSocket({})
    heard: list[Incoming] = []
    for cut in cuts:
        heard += wire.parse(data[:cut])
        data = data[cut:]
    heard += wire.parse(data)
    assert [type(item) for item in heard] == [Opening, Key, Voice, Key, Voice, Control, Control]
    assert heard[1:] == [Key("#"), Voice(bytes(320)), Key("5"), Voice(bytes(320)), Control.UNKNOWN, Control.END]


def test_one_byte_at_a_time_is_enough() -> None:
    wire = AudioSocket({})
    heard = [item for byte in IDENTITY + VOICE_8 for item in wire.parse(bytes([byte]))]
    assert [type(item) for item in heard] == [Opening, Voice]


def test_empty_voice_opens_a_call_and_is_none() -> None:
    assert [type(item) for item in items(IDENTITY + b"\x13\x00\x00")] == [Opening]


@pytest.mark.parametrize(
    ("data", "field"),
    [
        (VOICE_8, "kind"),
        (b"\x03\x00\x015", "kind"),
        (b"GET / HTTP/1.1\r\n" + bytes(99_999), "kind"),
        (b"\x01\x00\x0f" + bytes(15), "uuid"),
        (b"\x01\x00\x00", "uuid"),
        (IDENTITY * 2, "uuid"),
        (IDENTITY + VOICE_8 + b"\x13\x00\x02ab", "kind"),
        (IDENTITY + b"\x17\x00\x02ab", "kind"),
        (IDENTITY + b"\x18\x00\x02ab", "kind"),
        (IDENTITY + b"\x03\x00\x00", "dtmf"),
        (IDENTITY + b"\x03\x00\x0212", "dtmf"),
        (IDENTITY + b"\x03\x00\x015" * 33, "dtmf"),
    ],
)
def test_what_cannot_be_is_refused_by_name(data: bytes, field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        items(data)
    assert refused.value.field == field


@pytest.mark.parametrize("payload", [b"", b"\x01", b"\x04", bytes(99)])
def test_an_error_of_asterisk_ends_the_call_as_a_loss(payload: bytes) -> None:
    with pytest.raises(CallerLost):
        items(IDENTITY + VOICE_8 + b"\xff" + len(payload).to_bytes(2, "big") + payload)


def test_a_hang_up_is_the_end_with_or_without_a_payload() -> None:
    assert items(IDENTITY + HANG_UP) == [Control.END]
    assert items(b"\x00\x00\x01x") == [Control.END]


def test_at_most_one_message_is_kept() -> None:
    wire = AudioSocket({})
    wire.parse(IDENTITY + b"\x10\xff\xff" + bytes(65_534))
    assert len(wire._buffer) == 3 + 65_534
    assert [type(item) for item in wire.parse(bytes(1) + HANG_UP)] == [Opening, Voice, Control]
    assert not wire._buffer


def test_the_gateway_asks_for_the_hang_up_and_for_nothing_else() -> None:
    assert AudioSocket({}).end(None) == (HANG_UP,)
    with pytest.raises(Unsupported):
        AudioSocket({}).transfer("1")
    with pytest.raises(Unsupported):
        AudioSocket({}).send_digits("1")


def profiles(folder: Path, content: object) -> str:
    path = folder / "profiles.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


def test_a_profile_is_found_by_its_uuid_and_stands_for_every_other(tmp_path: Path) -> None:
    given = {str(NAME): {"seed": 7, "text_prompt": "You bake."}, "*": {"label": "any", "loopback": True}}
    wires = read_profiles(profiles(tmp_path, given))
    own, other = (items(b"\x01\x00\x10" + name.bytes + VOICE_8, AudioSocket(wires))[0] for name in (NAME, uuid.uuid4()))
    assert isinstance(own, Opening)
    assert isinstance(other, Opening)
    assert (own.options.seed, own.options.persona.text_prompt, own.options.label) == (7, "You bake.", str(NAME))
    assert (other.options.seed, other.options.label, other.options.loopback) == (None, "any", True)
    assert EVERY_OTHER in wires


@pytest.mark.parametrize(
    "content", ["{", "[]", {"x": {}}, {"*": []}, {"*": {"seed": "x"}}, {"*": {"text_prompt": ["x"]}}]
)
def test_profiles_that_cannot_be_are_refused_at_the_start(tmp_path: Path, content: object) -> None:
    with pytest.raises(SettingError, match="MOSHI_GATEWAY_AUDIOSOCKET_PROFILES"):
        read_profiles(profiles(tmp_path, content))
    with pytest.raises(SettingError, match="MOSHI_GATEWAY_AUDIOSOCKET_PROFILES"):
        read_profiles(str(tmp_path / "nothing"))


@settings(max_examples=50)
@given(st.binary(max_size=400))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for prefix in (b"", IDENTITY, IDENTITY + VOICE_8):
        with contextlib.suppress(SessionError):
            items(prefix + data)

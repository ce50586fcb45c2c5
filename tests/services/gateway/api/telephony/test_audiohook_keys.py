"""Genesys's keys: the example of its documentation, and what is not quite it."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from multidict import CIMultiDict

from moshi_cluster.services.common.errors import Unauthenticated
from moshi_cluster.services.common.settings import SettingError
from moshi_cluster.services.gateway.api.telephony.audiohook_keys import AudioHookKey, read_keys, require_signature
from moshi_cluster.services.gateway.api.telephony.wire import Request
from tests.services.gateway.api.telephony.simulators.audiohook import API_KEY, ORGANIZATION, SECRET

CREATED_S = 1641013200
TARGET = "/api/v1/voicebiometrics/ws"
# developer.genesys.cloud/devapps/audiohook/security, "Example".
HEADERS = {
    "Host": "audiohook.example.com",
    "Audiohook-Organization-Id": "d7934305-0972-4844-938e-9060eef73d05",
    "Audiohook-Session-Id": "30b0e395-84d3-4570-ac13-9a62d8f514c0",
    "Audiohook-Correlation-Id": "e160e428-53e2-487c-977d-96989bf5c99d",
    "X-API-KEY": "SGVsbG8sIEkgYW0gdGhlIEFQSSBrZXkh",
    "Signature": "sig1=:NZBwyBHRRyRoeLqy1IzOa9VYBuI8TgMFt2GRDkDuJh4=:",
    "Signature-Input": (
        'sig1=("@request-target" "@authority" "audiohook-organization-id" "audiohook-session-id" '
        '"audiohook-correlation-id" "x-api-key");keyid="SGVsbG8sIEkgYW0gdGhlIEFQSSBrZXkh";'
        'nonce="VGhpc0lzQVVuaXF1ZU5vbmNl";alg="hmac-sha256";created=1641013200;expires=3282026430'
    ),
}
KEYS = {API_KEY: AudioHookKey(base64.b64decode(SECRET), ORGANIZATION)}


def request(target: str = TARGET, **changes: str) -> Request:
    headers = CIMultiDict(HEADERS)
    headers.update({name.replace("_", "-"): value for name, value in changes.items()})
    return Request("192.0.2.1", target, headers)


def test_the_example_of_the_documentation_is_signed_right() -> None:
    assert require_signature(request(), KEYS, CREATED_S) is KEYS[API_KEY]


def test_behind_a_proxy_the_name_that_it_was_called_by_counts() -> None:
    assert require_signature(request(Host="10.0.0.7:8998", X_Forwarded_Host="AudioHook.example.com"), KEYS, CREATED_S)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target": "/other"}, "not signed by a key"),
        ({"Host": "other.example.com"}, "not signed by a key"),
        ({"Audiohook_Session_Id": "30b0e395-84d3-4570-ac13-9a62d8f514c1"}, "not signed by a key"),
        ({"X_API_KEY": "other"}, "its API key differ"),
        ({"Signature": "sig1=:NZBwyBHRRyRoeLqy1IzOa9VYBuI8TgMFt2GRDkDuKh4=:"}, "not signed by a key"),
        ({"Signature_Input": HEADERS["Signature-Input"].replace(' "x-api-key"', "")}, "does not cover enough"),
        ({"Signature_Input": HEADERS["Signature-Input"].replace("hmac-sha256", "none")}, "must be hmac-sha256"),
        ({"Signature_Input": HEADERS["Signature-Input"].replace("VGhpc0lz", "")}, "no nonce"),
        ({"Signature_Input": HEADERS["Signature-Input"].replace("3282026430", "1641013100")}, "not signed just now"),
    ],
)
def test_anything_else_is_refused(changes: dict[str, str], message: str) -> None:
    with pytest.raises(Unauthenticated, match=message):
        require_signature(request(**changes), KEYS, CREATED_S)


@pytest.mark.parametrize("late_s", [-11, 11, 3600])
def test_an_old_signature_is_no_longer_good(late_s: int) -> None:
    with pytest.raises(Unauthenticated, match="not signed just now"):
        require_signature(request(), KEYS, CREATED_S + late_s)


def test_an_unknown_key_and_one_of_another_organization_are_refused() -> None:
    with pytest.raises(Unauthenticated, match="not signed by a key that is known"):
        require_signature(request(), {}, CREATED_S)
    other = {API_KEY: AudioHookKey(base64.b64decode(SECRET), "00000000-0000-0000-0000-000000000001")}
    with pytest.raises(Unauthenticated, match="belongs to another organization"):
        require_signature(request(), other, CREATED_S)


@pytest.mark.parametrize(
    ("line", "message"),
    [("key", "expected API-KEY"), ("a b c d", "expected API-KEY"), ("key %%%", "no base64"), ("key ====", "no base64")],
)
def test_a_line_that_is_no_key_is_refused_without_being_shown(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "keys"
    path.write_text(f"# comment\n{line}\n")
    with pytest.raises(SettingError, match=message) as refused:
        read_keys(str(path))
    assert "line 2" in str(refused.value)
    assert "%%%" not in str(refused.value)


def test_keys_are_read_with_and_without_an_organization(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(f"one {SECRET}\ntwo {SECRET} {ORGANIZATION.upper()}\n")
    keys = read_keys(str(path))
    assert [key.organization for key in keys.values()] == [None, ORGANIZATION]
    assert SECRET not in repr(keys)

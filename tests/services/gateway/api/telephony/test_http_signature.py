"""Signatures against the vectors of RFC 9421's draft and of Genesys's documentation."""

from __future__ import annotations

import base64

import pytest

from moshi_cluster.services.common.errors import Unauthenticated
from moshi_cluster.services.gateway.api.telephony.http_signature import HttpSignature

# draft-ietf-httpbis-message-signatures-11, B.1.5 and B.2.5.
DRAFT_SECRET = base64.b64decode(
    "uzvJfB4u3N0Jy4T7NZ75MDVcr8zSTInedJtkgcu46YW4XByzNJjxBdtjUkdJPBtbmHhIDi6pcl8jsasjlTMtDQ=="
)
DRAFT = {
    "Signature-Input": 'sig-b25=("date" "@authority" "content-type");created=1618884473;keyid="test-shared-secret"',
    "Signature": "sig-b25=:pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8=:",
}
DRAFT_VALUES = {
    "date": "Tue, 20 Apr 2021 02:07:55 GMT",
    "@authority": "example.com",
    "content-type": "application/json",
}


def test_the_vector_of_the_draft_is_right() -> None:
    signature = HttpSignature.of(DRAFT)
    assert signature.components == ["date", "@authority", "content-type"]
    assert signature.parameters == {"created": "1618884473", "keyid": "test-shared-secret"}
    assert signature.is_by(DRAFT_SECRET, DRAFT_VALUES)


@pytest.mark.parametrize("name", DRAFT_VALUES)
def test_any_other_value_is_not_what_was_signed(name: str) -> None:
    signature = HttpSignature.of(DRAFT)
    assert not signature.is_by(DRAFT_SECRET, {**DRAFT_VALUES, name: "other"})
    assert not signature.is_by(DRAFT_SECRET, {key: value for key, value in DRAFT_VALUES.items() if key != name})


def test_another_secret_is_another_signature() -> None:
    assert not HttpSignature.of(DRAFT).is_by(DRAFT_SECRET[:-1], DRAFT_VALUES)


@pytest.mark.parametrize("old", ["created=1618884473", '"date" ', "test-shared"])
def test_what_the_parameters_say_is_signed(old: str) -> None:
    changed = {
        **DRAFT,
        "Signature-Input": DRAFT["Signature-Input"].replace(old, old.replace("1", "2").replace("t", "s")),
    }
    if old == '"date" ':
        changed["Signature-Input"] = DRAFT["Signature-Input"].replace(old, "")
    assert not HttpSignature.of(changed).is_by(DRAFT_SECRET, {**DRAFT_VALUES, "dase": DRAFT_VALUES["date"]})


@pytest.mark.parametrize(
    ("given", "signature"),
    [
        ("", ""),
        (DRAFT["Signature-Input"], ""),
        ("", DRAFT["Signature"]),
        (DRAFT["Signature-Input"], DRAFT["Signature"].replace("b25", "b26")),
        (DRAFT["Signature-Input"], DRAFT["Signature"].replace(":", "")),
        (DRAFT["Signature-Input"], "sig-b25=:A:"),
        (DRAFT["Signature-Input"] + ', sig2=("date")', DRAFT["Signature"]),
        (DRAFT["Signature-Input"].replace('" "', '"  "'), DRAFT["Signature"]),
        (DRAFT["Signature-Input"].replace('"date"', '"date";sf'), DRAFT["Signature"]),
        (DRAFT["Signature-Input"].replace('"date"', '"@authority"'), DRAFT["Signature"]),
        (DRAFT["Signature-Input"].replace("1618884473", "١٦١٨"), DRAFT["Signature"]),
    ],
)
def test_what_is_in_no_known_form_is_refused(given: str, signature: str) -> None:
    with pytest.raises(Unauthenticated, match=r"^the request"):
        HttpSignature.of({"Signature-Input": given, "Signature": signature})

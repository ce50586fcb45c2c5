"""Options that telephone systems set are checked by name; others are their own."""

from __future__ import annotations

import pytest

from moshi_cluster.services.common.errors import InvalidInput
from moshi_cluster.services.gateway.api.telephony.options import parse_options


def test_names_that_mean_something_are_taken_and_others_are_not() -> None:
    given = {"text_prompt": "a", "voice": "b", "seed": 7, "label": "c", "token": "d", "resume": "e"}
    options = parse_options(given | {"FirstName": "Jane", "nested": {}})
    assert (options.persona.text_prompt, options.persona.voice, options.seed) == ("a", "b", 7)
    assert (options.label, options.loopback, options.token, options.resume) == ("c", False, "d", "e")
    assert parse_options({"loopback": True}).loopback
    nothing = parse_options({"token": "", "resume": "", "seed": ""})
    assert (nothing.token, nothing.resume, nothing.seed) == (None, None, None)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seed", "-1"),
        ("seed", "1" * 21),
        ("label", "line\nend"),
        ("label", "x" * 129),
        ("loopback", "yes"),
        ("text_prompt", "x" * 5000),
        ("voice", ["a"]),
        ("resume", "x" * 129),
    ],
)
def test_what_is_wrong_is_named(name: str, value: object) -> None:
    with pytest.raises(InvalidInput, match=f"^{name}: "):
        parse_options({name: value})


def test_secrets_are_in_no_log() -> None:
    shown = repr(parse_options({"token": "secret", "resume": "secret", "text_prompt": "secret"}))
    assert "secret" not in shown

"""JSON in which every key stands once."""

from __future__ import annotations

import json

import pytest

from moshi_cluster.models.loading.strict_json import parse_json


@pytest.mark.parametrize("text", ['{"a": 1, "a": 2}', '{"b": {"a": 1, "c": 0, "a": 1}}', '[{"a": 1, "a": 1}]'])
def test_a_key_that_repeats_is_named_at_any_depth(text: str) -> None:
    with pytest.raises(ValueError, match="'a' is there twice"):
        parse_json(text)


def test_what_has_no_repeated_key_is_read_as_it_stands() -> None:
    value = {"a": [1, {"b": None}], "c": {"a": "x"}}
    assert parse_json(json.dumps(value)) == value


@pytest.mark.timeout(60)  # looking through all names for each would take an hour
def test_many_keys_of_which_the_last_repeats_take_no_longer_than_they_are() -> None:
    keys = [f'"{number}": 0' for number in range(300_000)]
    with pytest.raises(ValueError, match="'299999' is there twice"):
        parse_json("{" + ",".join([*keys, keys[-1]]) + "}")

"""Sampling parameters: one table says what each may be."""

from __future__ import annotations

import math
from dataclasses import fields

import pytest

from moshi_cluster.models.sampling import LIMITS, Limit, Sampling, SamplingError, check
from moshi_cluster.v1 import common_pb2


def test_every_parameter_has_its_limits_and_its_field_on_the_wire() -> None:
    names = [field.name for field in fields(Sampling)]
    assert list(LIMITS) == names
    assert [field.name for field in common_pb2.Sampling.DESCRIPTOR.fields] == names


@pytest.mark.parametrize("name", LIMITS)
def test_both_ends_are_allowed_and_nothing_beyond(name: str) -> None:
    limit = LIMITS[name]
    check({name: limit.least})
    check({name: limit.most})
    step = 1 if limit.whole else 1e-6
    for value in (limit.least - step, limit.most + step, math.nan, math.inf, -math.inf):
        with pytest.raises(SamplingError, match=rf"^{name}: must be {limit.least} to {limit.most}$") as error:
            Sampling(**{name: value})  # type: ignore[arg-type]
        assert error.value.name == name


def test_the_wire_tells_the_ends_that_the_table_has() -> None:
    assert {name: str(limit) for name, limit in LIMITS.items()} == {
        "text_temperature": "0 to 10",
        "text_top_k": "1 to 500",
        "audio_temperature": "0 to 10",
        "audio_top_k": "1 to 500",
        "seed": "0 to 18446744073709551615",
        "padding_multiplier": "-4 to 4",
        "repetition_penalty": "1 to 2",
        "repetition_penalty_context": "0 to 200",
    }


def test_upstreams_own_ends_hold_on_api_chat() -> None:
    ends = {name: limit.upstream.most for name, limit in LIMITS.items() if limit.upstream != limit}
    seed = 2**63 - 1
    temperature, top_k = 2, 2048
    assert ends == {
        "text_temperature": temperature,
        "text_top_k": top_k,
        "audio_temperature": temperature,
        "audio_top_k": top_k,
        "seed": seed,
    }
    assert Limit(1, 2).upstream == Limit(1, 2)


def test_some_parameters_can_be_checked_without_the_others() -> None:
    check({})
    check({"seed": 2**64 - 1, "audio_top_k": 500})
    with pytest.raises(SamplingError, match="audio_top_k"):
        check({"seed": 1, "audio_top_k": 501})

"""What a model's parameters say, and which of them are refused."""

from __future__ import annotations

import pytest

from moshi_cluster.services.codec.triton.contract import MimiParameters, check_tensors, tensors

PARAMETERS = MimiParameters("encode", "0123456789abcdef", 1920, 8, 2048, 32)


def test_parameters_survive_a_configuration() -> None:
    assert MimiParameters.from_strings(PARAMETERS.as_strings() | {"threads": "1"}) == PARAMETERS


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("moshi_program", "both"),
        ("moshi_fingerprint", ""),
        ("moshi_frame_samples", "0"),
        ("moshi_codebooks", "-8"),
        ("moshi_bins", "many"),
        ("moshi_slots", "99999999999"),
    ],
)
def test_a_parameter_that_is_missing_or_malformed_is_named(name: str, value: str) -> None:
    strings = PARAMETERS.as_strings()
    with pytest.raises(ValueError, match=name):
        MimiParameters.from_strings(strings | {name: value})
    del strings[name]
    with pytest.raises(ValueError, match=name):
        MimiParameters.from_strings(strings)


def test_tensors_are_those_of_the_direction() -> None:
    inputs, outputs = tensors(PARAMETERS)
    assert (inputs, outputs) == ({"PCM": (1920,)}, {"CODES": (8,), "STEP": (3,)})
    check_tensors(PARAMETERS, inputs, outputs)
    for wrong in ({}, {"PCM": (960,)}, {"AUDIO": (1920,)}):
        with pytest.raises(ValueError, match="tensors"):
            check_tensors(PARAMETERS, wrong, outputs)

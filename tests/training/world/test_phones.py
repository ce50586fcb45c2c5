"""One set of phones for two synthesisers."""

from __future__ import annotations

import pytest

from training.world.phones import PHONES, SILENCE, from_espeak


def test_phones_differ_and_silence_is_number_zero() -> None:
    assert len(set(PHONES)) == len(PHONES) <= 45
    assert PHONES[0] == SILENCE


@pytest.mark.parametrize(
    ("mnemonic", "phone"), [("T", "th"), ("aI2", "ay"), ("t#", "t"), ("a#", "ae"), ("u:", "uw"), ("_:", "pau")]
)
def test_a_mnemonic_has_its_phone_with_and_without_marks(mnemonic: str, phone: str) -> None:
    assert from_espeak(mnemonic) == phone
    assert phone in PHONES


def test_a_mark_alone_is_no_phone() -> None:
    assert from_espeak(";") is None


def test_an_unknown_mnemonic_is_an_error() -> None:
    with pytest.raises(KeyError):
        from_espeak("Q^")

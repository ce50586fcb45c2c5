"""Phone set of both synthesisers: the ARPAbet of flite's US voices, and espeak-ng's mnemonics mapped to it."""

from __future__ import annotations

SILENCE = "pau"
PHONES = (
    SILENCE, "aa", "ae", "ah", "ao", "aw", "ax", "ay", "b", "ch", "d", "dh", "eh", "er", "ey", "f", "g", "hh", "ih",
    "iy", "jh", "k", "l", "m", "n", "ng", "ow", "oy", "p", "r", "s", "sh", "t", "th", "uh", "uw", "v", "w", "y", "z",
    "zh",
)  # fmt: skip
NUMBER_OF = {phone: number for number, phone in enumerate(PHONES)}
PHONES_PER_FRAME = 4
"""Phone labels of a frame of the codec, one for every 20 ms."""

# espeak-ng's mnemonics without trailing digits and marks; a mnemonic may stand for two phones, the first is its label.
_ESPEAK = {
    "A:": "aa", "aa": "aa", "A@": "aa", "0": "aa", "O": "aa", "a": "ae", "V": "ah", "VR": "er", "O:": "ao", "O@": "ao",
    "o@": "ao", "aU": "aw", "@": "ax", "@L": "ax", "IR": "er", "aI": "ay", "aI@": "ay", "b": "b", "tS": "ch", "d": "d",
    "D": "dh", "E": "eh", "e@": "eh", "3": "er", "3:": "er", "eI": "ey", "f": "f", "g": "g", "h": "hh", "I": "ih",
    "i@": "ih", "i": "iy", "i:": "iy", "dZ": "jh", "k": "k", "l": "l", "m": "m", "n": "n", "N": "ng", "oU": "ow",
    "OI": "oy", "p": "p", "r": "r", "r-": "r", "s": "s", "S": "sh", "t": "t", "T": "th", "U": "uh", "U@": "uh",
    "u:": "uw", "u": "uw", "v": "v", "w": "w", "j": "y", "z": "z", "Z": "zh",
}  # fmt: skip
_PAUSES = ("_", "_:", "_!", "_|", "|")


def from_espeak(mnemonic: str) -> str | None:
    """The phone of an espeak-ng mnemonic; None for a mark that only lengthens or softens the phone before it.

    A mnemonic that the table lacks raises KeyError.
    """
    if mnemonic in _PAUSES:
        return SILENCE
    plain = mnemonic if mnemonic in _ESPEAK else mnemonic.rstrip("0123456789#[;")
    if not plain or plain == ":":
        return None
    return _ESPEAK[plain]

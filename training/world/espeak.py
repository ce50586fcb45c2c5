"""espeak-ng through its C library: samples together with the times of phones, which the command does not give."""

from __future__ import annotations

import ctypes
from functools import cache

import numpy as np

from training.world.phones import SILENCE, from_espeak
from training.world.speech import Span, Speech

_SYNCHRONOUS = 2
_PHONEME_EVENTS = 1
_UTF8 = 1
_RATE, _PITCH = 1, 3
_END_OF_EVENTS, _PHONEME = 0, 7


class _Id(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position_ms", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Id),
    )


_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)  # samples, how many, events


class Espeak:
    """The library of this process; it speaks one utterance at a time."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL("libespeak-ng.so.1")
        self._sample_rate_hz = int(self._library.espeak_Initialize(_SYNCHRONOUS, 0, None, _PHONEME_EVENTS))
        if self._sample_rate_hz <= 0:
            raise RuntimeError("espeak-ng does not start: is its data folder installed?")
        self._chunks: list[bytes] = []
        self._phones: list[tuple[str, int]] = []
        self._callback = _Callback(self._receive)  # kept: C holds no reference
        self._library.espeak_SetSynthCallback(self._callback)

    def speak(self, text: str, voice: str, pitch: int, words_per_minute: int) -> Speech:
        """`voice` as "accent+variant", pitch 0 to 99 (its own: 50). Raises ValueError for an unknown voice."""
        if self._library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise ValueError(f"espeak-ng has no voice {voice!r}")
        self._library.espeak_SetParameter(_PITCH, pitch, 0)
        self._library.espeak_SetParameter(_RATE, words_per_minute, 0)
        self._chunks.clear()
        self._phones.clear()
        encoded = text.encode()
        self._library.espeak_Synth(encoded, len(encoded) + 1, 0, 1, 0, _UTF8, None, None)
        samples = np.frombuffer(b"".join(self._chunks), dtype=np.int16).astype(np.float32) * np.float32(1 / 32768)
        return Speech(samples, self._sample_rate_hz, self._spans(len(samples)))

    def _receive(self, samples: ctypes._Pointer[ctypes.c_short], count: int, events: ctypes._Pointer[_Event]) -> int:
        if count:
            self._chunks.append(ctypes.string_at(samples, 2 * count))
        position = 0
        while events[position].type != _END_OF_EVENTS:
            event = events[position]
            if event.type == _PHONEME:
                self._phones.append((event.id.string.decode(), event.sample))
            position += 1
        return 0

    def _spans(self, samples: int) -> tuple[Span, ...]:
        """An event says where a phone starts; it lasts until the next one."""
        starts = [(phone, at) for mnemonic, at in self._phones if (phone := from_espeak(mnemonic)) is not None]
        starts.append((SILENCE, samples))
        rate = self._sample_rate_hz
        return tuple(
            Span(phone, start / rate, end / rate)
            for (phone, start), (_, end) in zip(starts, starts[1:], strict=False)
            if end > start
        )


@cache
def espeak() -> Espeak:
    """The one of this process. Raises OSError where the library is not installed."""
    return Espeak()

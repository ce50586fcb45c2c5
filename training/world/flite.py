"""flite through its C library: samples together with the times of phones and words."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np

from training.world.phones import NUMBER_OF
from training.world.speech import Span, Speech

_C = ctypes.CDLL(None)
_Pointer = ctypes.c_void_p
# flite keeps the pointers to these names: they must live as long as the voice.
_STRETCH, _PITCH = b"duration_stretch", b"int_f0_target_mean"
_WORD_START = b"R:SylStructure.daughter1.daughter1.R:Segment.p.end"
_WORD_END = b"R:SylStructure.daughtern.daughtern.R:Segment.end"


class _Voice(ctypes.Structure):
    _fields_ = (("name", ctypes.c_char_p), ("features", _Pointer))


class _Wave(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_char_p),
        ("sample_rate_hz", ctypes.c_int),
        ("samples_count", ctypes.c_int),
        ("channels", ctypes.c_int),
        ("samples", ctypes.POINTER(ctypes.c_short)),
    )


_SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "flite_init": (ctypes.c_int, []),
    "flite_synth_text": (_Pointer, [ctypes.c_char_p, _Pointer]),
    "flite_feat_set_float": (None, [_Pointer, ctypes.c_char_p, ctypes.c_float]),
    "feat_remove": (ctypes.c_int, [_Pointer, ctypes.c_char_p]),
    "flite_ffeature_float": (ctypes.c_float, [_Pointer, ctypes.c_char_p]),
    "flite_ffeature_string": (ctypes.c_char_p, [_Pointer, ctypes.c_char_p]),
    "utt_wave": (ctypes.POINTER(_Wave), [_Pointer]),
    "utt_relation": (_Pointer, [_Pointer, ctypes.c_char_p]),
    "relation_head": (_Pointer, [_Pointer]),
    "item_next": (_Pointer, [_Pointer]),
    "delete_utterance": (None, [_Pointer]),
}


class FliteVoice:
    """One of flite's voices: "kal", "kal16", "awb", "rms", "slt"."""

    def __init__(self, name: str) -> None:
        self._flite = _library()
        register = getattr(ctypes.CDLL(f"libflite_cmu_us_{name}.so.1"), f"register_cmu_us_{name}")
        register.restype, register.argtypes = _Pointer, [_Pointer]
        self._voice = register(None)
        self._features = ctypes.cast(self._voice, ctypes.POINTER(_Voice)).contents.features

    def speak(self, text: str, stretch: float = 1.0, pitch_hz: float | None = None) -> Speech:
        """`stretch` above 1 speaks slower; without a pitch the voice's own. Letters stand for their names."""
        self._flite.flite_feat_set_float(self._features, _STRETCH, stretch)
        if pitch_hz is None:
            self._flite.feat_remove(self._features, _PITCH)
        else:
            self._flite.flite_feat_set_float(self._features, _PITCH, pitch_hz)
        _C.srand(1)  # breath is made of C's random numbers: the same text is to be the same samples
        utterance = self._flite.flite_synth_text(text.encode(), self._voice)
        try:
            wave = self._flite.utt_wave(utterance).contents
            samples = np.ctypeslib.as_array(wave.samples, (wave.samples_count,)).astype(np.float32) * np.float32(
                1 / 32768
            )
            return Speech(samples, wave.sample_rate_hz, self._phones(utterance), self._words(utterance))
        finally:
            self._flite.delete_utterance(utterance)

    def _phones(self, utterance: int) -> tuple[Span, ...]:
        spans, start_s = [], 0.0
        for item in self._items(utterance, b"Segment"):
            phone, end_s = self._name(item), self._flite.flite_ffeature_float(item, b"end")
            if phone not in NUMBER_OF:
                raise ValueError(f"flite said {phone!r}, which is not a phone of the world")
            spans.append(Span(phone, start_s, end_s))
            start_s = end_s
        return tuple(spans)

    def _words(self, utterance: int) -> tuple[Span, ...]:
        return tuple(
            Span(
                self._name(item).lstrip("_"),  # flite's name for the letter a is _a
                self._flite.flite_ffeature_float(item, _WORD_START),
                self._flite.flite_ffeature_float(item, _WORD_END),
            )
            for item in self._items(utterance, b"Word")
        )

    def _name(self, item: int) -> str:
        name: bytes = self._flite.flite_ffeature_string(item, b"name")
        return name.decode()

    def _items(self, utterance: int, relation: bytes) -> Iterator[int]:
        item = self._flite.relation_head(self._flite.utt_relation(utterance, relation))
        while item:
            yield item
            item = self._flite.item_next(item)


@cache
def flite_voice(name: str) -> FliteVoice:
    """The voice of this process. Raises OSError where flite's libraries are not installed."""
    return FliteVoice(name)


@cache
def _library() -> Any:
    library = ctypes.CDLL("libflite.so.1")
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    library.flite_init()
    return library

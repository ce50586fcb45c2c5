"""Speech recogniser as an independent ear: pocketsphinx with the world's grammar writes down what Moshi says."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pocketsphinx import Decoder

from moshi_cluster.audio.frame import MODEL_RATE_HZ
from moshi_cluster.audio.spectral_resample import resample_recording
from training.evaluate.grammar import PRONUNCIATIONS, grammar

_RATE_HZ = 16_000
_SILENCE_BEFORE_S, _SILENCE_AFTER_S = 0.2, 0.3


class Recogniser:
    """The acoustic model and dictionary that pocketsphinx brings along, and only sentences of the world's grammar."""

    def __init__(self) -> None:
        self._decoder = Decoder(samprate=_RATE_HZ, lm=None, loglevel="FATAL")
        for word, phones in PRONUNCIATIONS.items():
            self._decoder.add_word(word, phones, True)
        self._decoder.add_jsgf_string("world", grammar())
        self._decoder.activate_search("world")

    def hear_floats(self, samples: NDArray[np.float32]) -> str:
        """What is heard in samples of full scale 1.0."""
        return self.hear(np.round(samples * 32767).astype(np.int16))

    def hear(self, samples: NDArray[np.int16]) -> str:
        """Speech [N] at 24 kHz -> its words; "" where no sentence of the grammar fits."""
        narrow = resample_recording(samples.astype(np.float32), _RATE_HZ / MODEL_RATE_HZ)
        before = np.zeros(round(_SILENCE_BEFORE_S * _RATE_HZ), np.float32)
        after = np.zeros(round(_SILENCE_AFTER_S * _RATE_HZ), np.float32)
        padded = np.concatenate([before, narrow, after])
        self._decoder.start_utt()
        self._decoder.process_raw(np.clip(padded, -32768, 32767).astype(np.int16).tobytes(), full_utt=True)
        self._decoder.end_utt()
        found = self._decoder.hyp()
        return " ".join(word.split("(")[0] for word in found.hypstr.split()) if found else ""

"""Personas of an lm: prompts from the words and the voice that a session asks for."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping

from moshi_cluster.models.loading.voices import VOICE_SUFFIXES
from moshi_cluster.models.moshi_lm import LmConfig
from moshi_cluster.models.moshi_lm.prompt import Prompt, Voice, prompt_frames
from moshi_cluster.services.common.errors import InvalidInput
from moshi_cluster.services.common.prompts import FIELD, takes_no_prompts

_TAG = "<system>"
_MOST_CHARACTERS = 4096


class Personas:
    """Makes prompts of one checkpoint."""

    def __init__(
        self,
        config: LmConfig,
        encode: Callable[[str], list[int]],
        voices: Mapping[str, Voice],
        most_frames: int,
    ) -> None:
        """encode: tokens of a text; most_frames: of a prompt."""
        self._config = config
        self._encode = encode
        self._voices = voices
        self._most_frames = most_frames

    def prompt(self, text: str, voice: str) -> Prompt | None:
        """None where nothing is asked for. Raises InvalidInput naming the field."""
        if not text.strip() and not voice:
            return None
        if self._config.prompt_codes is None:
            takes_no_prompts(text, voice)
            return None
        if len(text) > _MOST_CHARACTERS:
            raise InvalidInput(f"{FIELD}.text_prompt", f"must be at most {_MOST_CHARACTERS} characters")
        name = _without_suffix(voice)
        if name and name not in self._voices:
            raise InvalidInput(f"{FIELD}.voice", "unknown voice", known=", ".join(sorted(self._voices)) or "none")
        tokens = self._encode(_wrapped(text)) if text.strip() else []
        if any(token >= self._config.text_card for token in tokens):
            raise InvalidInput(f"{FIELD}.text_prompt", "has words that are not in the model's vocabulary")
        frames = prompt_frames(self._voices.get(name), tokens, self._config)
        if len(frames) > self._most_frames:
            raise InvalidInput(
                f"{FIELD}.text_prompt",
                "makes the prompt longer than it may be",
                limit_frames=self._most_frames,
                got_frames=len(frames),
            )
        key = hashlib.sha256(repr((name, tokens)).encode()).hexdigest()
        return Prompt(key, frames, self._voices[name].embeddings if name else None)


def _without_suffix(voice: str) -> str:
    """A voice's name, as clients name it or its file."""
    return next((voice.removesuffix(suffix) for suffix in VOICE_SUFFIXES if voice.endswith(suffix)), voice)


def _wrapped(text: str) -> str:
    """Between two tags, as the model was trained, unless it is."""
    text = text.strip()
    return text if text.startswith(_TAG) and text.endswith(_TAG) else f"{_TAG} {text} {_TAG}"

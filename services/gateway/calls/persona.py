"""Persona of a call: bounds of what every transport takes."""

from __future__ import annotations

from moshi_cluster.services.common.errors import InvalidInput
from moshi_cluster.v1 import common_pb2

_MOST_TEXT_CHARACTERS = 4096
_MOST_VOICE_CHARACTERS = 128


def check_persona(persona: common_pb2.Persona, text_field: str, voice_field: str, loopback: bool = False) -> None:
    """Raises InvalidInput naming the field, as the transport calls it. What the model has is known to the lm alone."""
    for field, value, limit in (
        (text_field, persona.text_prompt, _MOST_TEXT_CHARACTERS),
        (voice_field, persona.voice, _MOST_VOICE_CHARACTERS),
    ):
        if value and loopback:
            raise InvalidInput(field, "belongs to no loopback call")
        if len(value) > limit:
            raise InvalidInput(field, f"must be at most {limit} characters")

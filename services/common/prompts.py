"""Prompts where a model takes none: what its worker says, which the gateway knows by its words."""

from __future__ import annotations

from moshi_cluster.services.common.errors import InvalidInput

FIELD = "open.persona"
NO_PROMPTS = "the checkpoint takes no prompts"


def takes_no_prompts(text: str, voice: str) -> None:
    """Raises InvalidInput where one is asked for."""
    if text.strip() or voice:
        raise InvalidInput(FIELD, NO_PROMPTS)

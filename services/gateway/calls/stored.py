"""What the session store keeps of a conversation beside its frames: no more than resuming needs."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from typing import Any

from moshi_cluster.services.gateway.calls.conversation import Conversation
from moshi_cluster.services.gateway.calls.history import History
from moshi_cluster.services.gateway.store.record import Stored
from moshi_cluster.v1 import common_pb2


def about(conversation: Conversation) -> Mapping[str, Any]:
    """Of whom, with which model, and how its tokens are drawn."""
    return {
        "token_sha256": _digest(conversation.token),
        "checkpoint": conversation.history.checkpoint,
        "moshi_codebooks": conversation.history.moshi_codebooks,
        "sampling": base64.b64encode(conversation.sampling.SerializeToString()).decode(),
        "persona": base64.b64encode(conversation.persona.SerializeToString()).decode(),
        "seeds": [conversation.text_seed, conversation.audio_seed],
    }


def is_of(stored: Mapping[str, Any], token: str | None) -> bool:
    """Whether the client that shows this token began the conversation."""
    return hmac.compare_digest(stored["token_sha256"], _digest(token))


def conversation_of(stored: Stored, key: str, token: str | None) -> Conversation:
    """The conversation as it was, under its key."""
    about = stored.about
    history = History.restored(
        about["checkpoint"], about["moshi_codebooks"], stored.width, stored.first_frame, stored.tokens
    )
    sampling = common_pb2.Sampling.FromString(base64.b64decode(about["sampling"]))
    text_seed, audio_seed = about["seeds"]
    persona = common_pb2.Persona.FromString(base64.b64decode(about.get("persona", "")))
    return Conversation(sampling, text_seed, audio_seed, history, token, persona, key=key)


def _digest(token: str | None) -> str:
    """Nobody's is that of no token."""
    return "" if token is None else hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()

"""Query parameters of /api/chat, from the URL to the specification of a call."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from moshi_cluster.audio.frame import MODEL_RATE_HZ
from moshi_cluster.models.sampling import LIMITS, Limit
from moshi_cluster.services.common.errors import InvalidInput, SessionError
from moshi_cluster.services.gateway.audio.formats import AudioFormat, Encoding
from moshi_cluster.services.gateway.calls.conversation import Conversation
from moshi_cluster.services.gateway.calls.persona import check_persona
from moshi_cluster.services.gateway.calls.spec import CallSpec, draw_seed
from moshi_cluster.services.gateway.settings import GatewaySettings
from moshi_cluster.v1 import common_pb2

REPLY_PACKET_MS = 40
"""What Moshi's own servers send and its clients expect: two packets a frame."""

SAMPLING_PARAMETERS = {
    "text_temperature": "text_temperature",
    "text_topk": "text_top_k",
    "audio_temperature": "audio_temperature",
    "audio_topk": "audio_top_k",
    "pad_mult": "padding_multiplier",
    "repetition_penalty": "repetition_penalty",
    "repetition_penalty_context": "repetition_penalty_context",
}
"""Sampling parameters by upstream's names, in queries and in metadata; the seeds are two there."""

_PERSONA_NAMES = {
    "start.persona.text_prompt": "text_prompt",
    "start.persona.voice": "voice_prompt",
    "start.persona": "text_prompt, voice_prompt",
}
_OPUS = AudioFormat(Encoding.OPUS, MODEL_RATE_HZ)
_MOST_DIGITS = 20  # of a number of 64 bits


@dataclass(frozen=True)
class ChatRequest:
    """What one connection to /api/chat asks for: a call, and what only this transport knows."""

    spec: CallSpec
    text_seed: int
    audio_seed: int
    resume: str | None  # key of the conversation to go on with
    stats: bool  # metadata beyond that of Moshi's own servers, figures every second among it

    def going_on_with(self, earlier: Conversation) -> ChatRequest:
        """This request with the sampling, the persona and the seeds of the conversation that it goes on with."""
        spec = replace(self.spec, sampling=earlier.sampling, persona=earlier.persona)
        return replace(self, spec=spec, text_seed=earlier.text_seed, audio_seed=earlier.audio_seed)


def parse_query(query: Mapping[str, str], settings: GatewaySettings, resume: str | None = None) -> ChatRequest:
    """Checks the parameters; unknown ones are ignored. Raises InvalidInput naming the parameter.

    resume: key of the conversation to go on with.
    """
    if "resume" in query:
        raise InvalidInput("resume", "belongs into the subprotocol, as moshi-cluster.resume.KEY, not into the address")
    text_seed, audio_seed = (_seed(query, name if name in query else "seed") for name in ("text_seed", "audio_seed"))
    spec = CallSpec(
        input_format=_OPUS,
        output_format=_OPUS,
        reply_packet_ms=REPLY_PACKET_MS,
        jitter_allowance_s=settings.jitter_allowance_ms / 1000,
        sampling=common_pb2.Sampling(**_sampling(query), seed=_one_seed(text_seed, audio_seed)),
        on_its_way_ms=settings.reply_backlog_ms // 2,
        loopback=_flag(query, "loopback"),
        persona=_persona(query),
        label="chat",
    )
    return ChatRequest(spec, text_seed, audio_seed, resume, _flag(query, "stats"))


def _sampling(query: Mapping[str, str]) -> dict[str, Any]:
    """Parameters that the client names. What upstream allows beyond our limits is lowered to them, and told."""
    penalty = ("repetition_penalty", "repetition_penalty_context")
    for name, other in (penalty, penalty[::-1]):
        if name in query and other not in query:
            raise InvalidInput(other, f"required beside {name}")
    return {
        field: min(_number(query[name], name, LIMITS[field].upstream), LIMITS[field].most)
        for name, field in SAMPLING_PARAMETERS.items()
        if name in query
    }


def in_query_words(error: SessionError) -> str:
    """An error; one about a persona with this transport's names of its fields, and with what is there or allowed."""
    field, _, problem = str(error).partition(": ")
    if field not in _PERSONA_NAMES:
        return str(error)
    figures = ", ".join(f"{name}: {value}" for name, value in error.figures.items() if name != "field")
    return f"{_PERSONA_NAMES[field]}: {problem}" + (f" ({figures})" if figures else "")


def _persona(query: Mapping[str, str]) -> common_pb2.Persona:
    """As PersonaPlex' clients name it; an empty text is none."""
    persona = common_pb2.Persona(text_prompt=query.get("text_prompt", ""), voice=query.get("voice_prompt", ""))
    check_persona(persona, "text_prompt", "voice_prompt", _flag(query, "loopback"))
    return persona


def _one_seed(text_seed: int, audio_seed: int) -> int:
    """A session has one seed, and its streams noise of their own; upstream's clients name two."""
    both = text_seed.to_bytes(8, "little") + audio_seed.to_bytes(8, "little")
    return int.from_bytes(hashlib.blake2b(both, digest_size=8).digest(), "little")


def _seed(query: Mapping[str, str], name: str) -> int:
    return int(_number(query[name], name, LIMITS["seed"].upstream)) if name in query else draw_seed()


def _number(given: str, name: str, limit: Limit) -> float:
    value = _whole(given) if limit.whole else _real(given)
    if not limit.allows(value):
        raise InvalidInput(name, f"must be {'a whole number from ' if limit.whole else ''}{limit}")
    return value


def _whole(given: str) -> float:
    is_number = given.isascii() and given.isdigit() and len(given) <= _MOST_DIGITS
    return int(given) if is_number else math.nan


def _real(given: str) -> float:
    try:
        return float(given)
    except ValueError:
        return math.nan


def _flag(query: Mapping[str, str], name: str) -> bool:
    given = query.get(name, "false")
    if given not in ("true", "false"):
        raise InvalidInput(name, "must be true or false")
    return given == "true"

"""The query parameters of /api/chat: what a client asks for."""

from __future__ import annotations

import hashlib
import math
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace

from moshi_cluster.audio.frame import MODEL_RATE_HZ
from moshi_cluster.services.common.errors import InvalidInput
from moshi_cluster.services.gateway.calls.resumption import Conversation
from moshi_cluster.services.gateway.calls.spec import CallSpec, parse_start
from moshi_cluster.services.gateway.settings import GatewaySettings
from moshi_cluster.v1 import common_pb2, gateway_pb2

REPLY_PACKET_MS = 40
"""What Moshi's own servers send and its clients expect: two packets a frame."""

_TEMPERATURE = (0.0, 2.0)
_TOP_K = (1, 2048)
_SEED = (0, 2**63 - 1)
_PAD_MULT = (-4.0, 4.0)
_REPETITION_PENALTY = (1.0, 2.0)
_REPETITION_PENALTY_CONTEXT = (0, 200)


@dataclass(frozen=True)
class ChatRequest:
    """One connection's call and what else the client wants."""

    spec: CallSpec
    text_seed: int
    audio_seed: int
    resume: str | None
    stats: bool  # wants stats every second

    def going_on_with(self, earlier: Conversation) -> ChatRequest:
        """The same for a conversation that has begun: what it was drawn with stays."""
        spec = replace(self.spec, sampling=earlier.sampling)
        return replace(self, spec=spec, text_seed=earlier.text_seed, audio_seed=earlier.audio_seed)


def parse_query(query: Mapping[str, str], from_browser: bool, settings: GatewaySettings) -> ChatRequest:
    """Checks the parameters; unknown ones are ignored. Raises InvalidInput naming the parameter.

    from_browser: stats come unasked; Moshi's own terminal clients print a warning for every message of that kind.
    """
    text_seed, audio_seed = _seed(query, "text_seed"), _seed(query, "audio_seed")
    opus = gateway_pb2.AudioFormat(encoding=gateway_pb2.ENCODING_OPUS, sample_rate_hz=MODEL_RATE_HZ)
    start = gateway_pb2.Start(
        input_format=opus,
        reply_packet_ms=REPLY_PACKET_MS,
        sampling=_sampling(query, text_seed, audio_seed),
        loopback=_flag(query, "loopback"),
        call_label="chat",
    )
    spec = parse_start(start, settings)
    return ChatRequest(spec, text_seed, audio_seed, query.get("resume"), _flag(query, "stats") or from_browser)


def _sampling(query: Mapping[str, str], text_seed: int, audio_seed: int) -> common_pb2.Sampling:
    penalty = ("repetition_penalty", "repetition_penalty_context")
    for name, other in (penalty, penalty[::-1]):
        if name in query and other not in query:
            raise InvalidInput(other, f"required beside {name}")
    return common_pb2.Sampling(
        text_temperature=_real(query, "text_temperature", *_TEMPERATURE),
        text_top_k=_whole(query, "text_topk", *_TOP_K),
        audio_temperature=_real(query, "audio_temperature", *_TEMPERATURE),
        audio_top_k=_whole(query, "audio_topk", *_TOP_K),
        seed=_one_seed(text_seed, audio_seed),
        padding_multiplier=_real(query, "pad_mult", *_PAD_MULT),
        repetition_penalty=_real(query, "repetition_penalty", *_REPETITION_PENALTY),
        repetition_penalty_context=_whole(query, "repetition_penalty_context", *_REPETITION_PENALTY_CONTEXT),
    )


def _one_seed(text_seed: int, audio_seed: int) -> int:
    """A session has one seed, and its streams noise of their own; upstream's clients name two."""
    both = text_seed.to_bytes(8, "little") + audio_seed.to_bytes(8, "little")
    return int.from_bytes(hashlib.blake2b(both, digest_size=8).digest(), "little")


def _seed(query: Mapping[str, str], name: str) -> int:
    seed = _whole(query, name, *_SEED)
    return secrets.randbits(63) if seed is None else seed


def _real(query: Mapping[str, str], name: str, lowest: float, highest: float) -> float | None:
    if (given := query.get(name)) is None:
        return None
    try:
        value = float(given)
    except ValueError:
        value = math.nan
    if not lowest <= value <= highest:
        raise InvalidInput(name, f"must be {lowest:g} to {highest:g}")
    return value


def _whole(query: Mapping[str, str], name: str, lowest: int, highest: int) -> int | None:
    if (given := query.get(name)) is None:
        return None
    digits = given.isascii() and given.isdigit() and len(given) <= len(str(highest))
    if not digits or not lowest <= int(given) <= highest:
        raise InvalidInput(name, f"must be a whole number from {lowest} to {highest}")
    return int(given)


def _flag(query: Mapping[str, str], name: str) -> bool:
    given = query.get(name, "false")
    if given not in ("true", "false"):
        raise InvalidInput(name, "must be true or false")
    return given == "true"

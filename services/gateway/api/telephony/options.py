"""Options of a call that telephone systems can set, under the same names whatever they call their parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from moshi_cluster.models.sampling import LIMITS
from moshi_cluster.services.common.errors import InvalidInput
from moshi_cluster.services.gateway.calls.persona import check_persona
from moshi_cluster.services.gateway.calls.spec import check_label
from moshi_cluster.v1 import common_pb2

_MOST_DIGITS = 20  # of a number of 64 bits
_MOST_KEY_CHARACTERS = 128


@dataclass(frozen=True)
class CallOptions:
    """What a system asks for beside sound."""

    persona: common_pb2.Persona = field(repr=False, default_factory=common_pb2.Persona)
    seed: int | None = None  # None: drawn
    label: str = ""
    loopback: bool = False
    token: str | None = field(repr=False, default=None)
    resume: str | None = field(repr=False, default=None)  # key of the conversation to go on with
    key: str | None = field(repr=False, default=None)  # of this conversation, where the wire has its own; None: drawn


def parse_options(parameters: Mapping[str, object]) -> CallOptions:
    """Checks the parameters by name: text_prompt, voice, seed, label, loopback, token, resume.

    Others are the system's own and mean nothing here. Raises InvalidInput naming the parameter.
    """
    given = {name: _text(parameters, name) for name in _NAMES if name in parameters}
    persona = common_pb2.Persona(text_prompt=given.get("text_prompt", ""), voice=given.get("voice", ""))
    loopback = _flag(given.get("loopback", "false"))
    check_persona(persona, "text_prompt", "voice", loopback)
    return CallOptions(
        persona=persona,
        seed=_seed(given["seed"]) if given.get("seed") else None,
        label=check_label(given.get("label", ""), "label"),
        loopback=loopback,
        token=given.get("token") or None,
        resume=_key(given.get("resume", "")) or None,
    )


_NAMES = ("text_prompt", "voice", "seed", "label", "loopback", "token", "resume")


def _text(parameters: Mapping[str, object], name: str) -> str:
    value = parameters[name]
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str | int):
        raise InvalidInput(name, "must be text")
    return str(value)


def _seed(given: str) -> int:
    is_number = given.isascii() and given.isdigit() and len(given) <= _MOST_DIGITS
    if not is_number or not LIMITS["seed"].allows(int(given)):
        raise InvalidInput("seed", f"must be a whole number from {LIMITS['seed']}")
    return int(given)


def _flag(given: str) -> bool:
    if given not in ("true", "false"):
        raise InvalidInput("loopback", "must be true or false")
    return given == "true"


def _key(given: str) -> str:
    if len(given) > _MOST_KEY_CHARACTERS:
        raise InvalidInput("resume", f"must be at most {_MOST_KEY_CHARACTERS} characters")
    return given

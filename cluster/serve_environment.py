"""The variables of the services that `serve` starts: its options win over the user's variables, these over defaults."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

_SERVICES = ("MOSHI_CODEC_", "MOSHI_LM_", "MOSHI_GATEWAY_")

# Option -> the variables that it stands for.
_OPTIONS: Mapping[str, tuple[str, ...]] = {
    "hf_repo": ("MOSHI_CODEC_HF_REPO", "MOSHI_LM_HF_REPO"),
    "checkpoint": ("MOSHI_CODEC_CHECKPOINT", "MOSHI_LM_CHECKPOINT"),
    "device": ("MOSHI_CODEC_DEVICE", "MOSHI_LM_DEVICE"),
    "slots": ("MOSHI_CODEC_SLOTS", "MOSHI_LM_SLOTS"),
    "host": ("MOSHI_GATEWAY_HOST",),
    "port": ("MOSHI_GATEWAY_HTTP_PORT",),
    "grpc_port": ("MOSHI_GATEWAY_PORT",),
    "tls_dir": ("MOSHI_GATEWAY_TLS_DIR",),
    "tls_self_signed": ("MOSHI_GATEWAY_TLS_SELF_SIGNED",),
    "gradio_tunnel": ("MOSHI_GATEWAY_GRADIO_TUNNEL",),
}
# Options that name the model rule out the variables that name another.
_RULED_OUT = {
    "hf_repo": ("MOSHI_CODEC_CHECKPOINT", "MOSHI_LM_CHECKPOINT"),
    "checkpoint": ("MOSHI_CODEC_HF_REPO", "MOSHI_LM_HF_REPO"),
}
# How the gateway finds the workers, and when they end, is the business of whoever starts them.
_OURS = (
    "MOSHI_CODEC_ATTACHED",
    "MOSHI_LM_ATTACHED",
    "MOSHI_GATEWAY_ATTACHED",
    "MOSHI_CODEC_HOST",
    "MOSHI_LM_HOST",
    "MOSHI_GATEWAY_CODEC_TARGETS",
    "MOSHI_GATEWAY_LM_TARGETS",
)
_DRAIN_GRACE_S = "5"  # somebody waits at the terminal
_DEFAULTS = {
    "MOSHI_GATEWAY_HOST": "127.0.0.1",
    "MOSHI_GATEWAY_HTTP_PORT": "8998",
    "MOSHI_GATEWAY_PORT": "50051",
    **{f"{service}DRAIN_GRACE_S": _DRAIN_GRACE_S for service in _SERVICES},
}
_FREE_PORTS = {"MOSHI_GATEWAY_HTTP_PORT": "0", "MOSHI_GATEWAY_PORT": "0"}


@dataclass(frozen=True)
class ServeEnvironment:
    """The services' variables, and what the user should know about theirs."""

    variables: Mapping[str, str]
    remarks: tuple[str, ...]


def serve_environment(
    arguments: Namespace, environment: Mapping[str, str], best_device: Callable[[], str]
) -> ServeEnvironment:
    """What `serve` gives its services. environment: the user's; best_device: called where nobody names a device."""
    users = {name: value for name, value in environment.items() if name.startswith(_SERVICES)}
    asked = _asked(arguments)
    unused = dict(_unused(arguments, users, asked))
    users = {name: value for name, value in users.items() if name not in unused}
    variables = _DEFAULTS | (_FREE_PORTS if arguments.attached else {}) | users | asked
    missing = [name for name in _OPTIONS["device"] if name not in variables]
    if missing:
        variables |= dict.fromkeys(missing, best_device())
    remarks = [f"{name}={environment[name]} is not used: {why}" for name, why in unused.items()]
    if taken := sorted(set(users) - set(asked)):
        remarks.append(f"settings from the environment: {', '.join(taken)}")
    if (codec := _source(variables, "CODEC")) != (lm := _source(variables, "LM")):
        remarks.append(f"codec and lm load different checkpoints: {codec} and {lm}")
    return ServeEnvironment(variables, tuple(remarks))


def _source(variables: Mapping[str, str], service: str) -> str:
    names = (f"MOSHI_{service}_HF_REPO", f"MOSHI_{service}_CHECKPOINT")  # in the order in which services look
    return next((variables[name] for name in names if variables.get(name)), "the demo model")


def _asked(arguments: Namespace) -> dict[str, str]:
    given = {option: getattr(arguments, option) for option in _OPTIONS}
    return {
        name: str(value).lower() if value is True else str(value)
        for option, value in given.items()
        if value is not None
        for name in _OPTIONS[option]
    }


def _unused(arguments: Namespace, users: Mapping[str, str], asked: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The user's variables that have no effect, and why."""
    for option, names in _OPTIONS.items():
        if getattr(arguments, option) is not None:
            rivals = [name for name in names if users.get(name, asked[name]) != asked[name]]
            rivals += [name for name in _RULED_OUT.get(option, ()) if name in users]
            yield from ((name, f"--{option.replace('_', '-')} says {getattr(arguments, option)}") for name in rivals)
    yield from ((name, "serve starts workers of its own") for name in _OURS if name in users)

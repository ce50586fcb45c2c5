"""The options of `moshi-cluster talk`."""

from __future__ import annotations

import argparse
from pathlib import Path

from moshi_cluster.clients.cli.access_options import add_access_options
from moshi_cluster.clients.cli.persona_options import add_persona_options

_DESCRIPTION = """A live conversation, with a microphone and a loudspeaker or with files (--input). Headphones keep
Moshi from hearing itself. Ctrl-C hangs up."""


def add_options(command: argparse.ArgumentParser) -> None:
    """Adds the options of `talk` to a command."""
    command.description = _DESCRIPTION
    whom = command.add_mutually_exclusive_group()
    whom.add_argument("--target", metavar="TARGET", help="a gateway: HOST:PORT (gRPC), or the URL of its web page")
    whom.add_argument("--local", action="store_true", help="start a cluster on this machine, talk to it, stop it")
    own = command.add_argument_group("a cluster of one's own")
    own.add_argument("--checkpoint", help="folder or owner/name[@revision]; the demo model if absent")
    own.add_argument("--device", default="auto", help="cpu, cuda, mps; auto takes the best there is")
    sound = command.add_argument_group("sound")
    sound.add_argument("--input", type=Path, metavar="WAV", help="what to say (mono, 16 bit) instead of a microphone")
    sound.add_argument("--tail-s", type=float, default=3.0, help="silence after --input, for Moshi to answer in")
    sound.add_argument("--output", type=Path, metavar="WAV", help="keep everything that Moshi says")
    sound.add_argument("--record", type=Path, metavar="WAV", help="keep both voices as heard: you left, Moshi right")
    sound.add_argument("--microphone", metavar="DEVICE", help="number, or part of the name")
    sound.add_argument("--loudspeaker", metavar="DEVICE", help="number, or part of the name")
    sound.add_argument("--list-devices", action="store_true", help="show microphones and loudspeakers, and end")
    add_access_options(command)
    model = command.add_argument_group("the conversation")
    model.add_argument("--seed", type=_seed, help="the same seed and audio give the same conversation")
    model.add_argument("--greedy", action="store_true", help="always the likeliest token, no chance involved")
    add_persona_options(model)
    model.add_argument("--resume", action="store_true", help="go on with it when the connection is lost")
    model.add_argument("--loopback", action="store_true", help="hear yourself: the gateway alone, no model")
    command.add_argument("--plain", action="store_true", help="text only; so it is where stdout is no terminal")


def _seed(text: str) -> int:
    value = int(text)
    if not 0 <= value < 2**63:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 2^63 - 1")
    return value

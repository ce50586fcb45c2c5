"""Options of whom Moshi is in a call: --role and --voice."""

from __future__ import annotations

import argparse

from moshi_cluster.v1 import common_pb2


def add_persona_options(command: argparse._ActionsContainer) -> None:
    """Adds --role and --voice."""
    command.add_argument("--role", default="", metavar="TEXT", help="who Moshi is, for models that take prompts")
    command.add_argument("--voice", default="", metavar="NAME", help="a voice that such a model has")


def persona_of(arguments: argparse.Namespace) -> common_pb2.Persona:
    """The persona that --role and --voice ask for."""
    return common_pb2.Persona(text_prompt=arguments.role, voice=arguments.voice)

"""`moshi-cluster`: serve a cluster on this machine, talk to one, or hold one call with a recording."""

from __future__ import annotations

import argparse
import sys

from moshi_cluster.clients.cli.commands import add_commands
from moshi_cluster.cluster.serve_options import add_serve


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit code of the command: 1 it failed, 2 bad input, 130 interrupted."""
    parser = argparse.ArgumentParser(prog="moshi-cluster", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    add_serve(commands)
    add_commands(commands)
    arguments = parser.parse_args(argv)
    code: int = arguments.run(arguments)
    return code


if __name__ == "__main__":
    sys.exit(main())

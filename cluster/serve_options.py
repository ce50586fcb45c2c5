"""The options of `moshi-cluster serve`. Free of torch: the program also runs on a machine that only talks."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

_DESCRIPTION = """Serves Moshi from this machine: starts a codec, an lm and a gateway, says where the page and the gRPC
port are, and stops everything on Ctrl-C. When a service dies the others are stopped; nothing is restarted."""
_EPILOG = """Every other setting of the services is an environment variable, for example MOSHI_LM_QUANTIZE=int8:
python -m moshi_cluster.services.lm --help (codec, gateway) lists them. What an option says wins over a variable."""
_EXIT_NOT_INSTALLED = 2


def add_serve(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command and its options."""
    command = commands.add_parser(
        "serve", help="a cluster on this machine: the web page and gRPC", description=_DESCRIPTION, epilog=_EPILOG
    )
    command.set_defaults(run=_run)
    _add_model(command.add_argument_group("the model"))
    _add_network(command.add_argument_group("the network"))
    command.add_argument("--logs", type=Path, metavar="FOLDER", help="keep the services' logs there")
    command.add_argument(
        "--attached",
        action="store_true",
        help="for programs that start this one: free ports, addresses as JSON on stdout, stops when stdin ends",
    )


def _add_model(group: argparse._ArgumentGroup) -> None:
    which = group.add_mutually_exclusive_group()
    which.add_argument(
        "--hf-repo", metavar="OWNER/NAME", help="Hugging Face repository, also with @revision; the demo model if absent"
    )
    which.add_argument("--checkpoint", metavar="FOLDER", help="a folder laid out like such a repository")
    group.add_argument("--device", help="cpu, cuda, cuda:1, mps; the best there is if absent")
    group.add_argument("--slots", type=int, metavar="N", help="calls at once; what the services find right if absent")


def _add_network(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--host", help="address to listen on; 0.0.0.0 lets other machines call (127.0.0.1)")
    group.add_argument("--port", type=_port, metavar="PORT", help="of the web page and /api/chat; 0: a free one (8998)")
    group.add_argument("--grpc-port", type=_port, metavar="PORT", help="of gRPC calls; 0: a free one (50051)")
    group.add_argument("--tls-dir", metavar="FOLDER", help="HTTPS with cert.pem and key.pem of that folder")
    group.add_argument(
        "--tls-self-signed", action="store_true", default=None, help="make a pair in --tls-dir if there is none"
    )
    group.add_argument(
        "--gradio-tunnel", action="store_true", default=None, help="a public https address (the package gradio)"
    )


def _port(text: str) -> int:
    value = int(text)
    if not 0 <= value <= 65535:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 65535")
    return value


def _run(arguments: argparse.Namespace) -> int:
    try:
        from moshi_cluster.cluster.serve import serve
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("moshi_cluster"):
            raise
        print(f"error: serve needs the package {error.name}: install the extra `all`", file=sys.stderr)
        return _EXIT_NOT_INSTALLED
    return serve(arguments)

"""`python -m benchmarks.chat crowd|upstream`: many pages and phones at once; Moshi's own client. Starts a cluster."""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.chat.client_mix import gather, protocol_clients
from benchmarks.chat.client_trace import faults
from benchmarks.chat.logs import complaints
from benchmarks.chat.report import as_json, summary, table
from benchmarks.chat.upstream import conversation, verdict
from moshi_cluster.audio.frame import FRAMES_PER_S
from moshi_cluster.clients.cli.recording import DEMO_UTTERANCE
from moshi_cluster.clients.telephony.errors import BadInput
from moshi_cluster.cluster.running_cluster import EXIT_FAILED, exit_code, running_cluster, say

EXIT_FAULTY = 3
_ROOMY = {"MOSHI_GATEWAY_QUEUE_CLIENTS": "100"}


def main(argv: list[str] | None = None) -> int:
    """Command line; the exit code is 3 when somebody did not get what is due."""
    arguments = _parser().parse_args(argv)
    try:
        return exit_code(lambda: int(arguments.run(arguments)))
    except (BadInput, subprocess.SubprocessError) as error:
        say(f"error: {error}")
        return EXIT_FAILED


def _client_mix(arguments: argparse.Namespace) -> int:
    frames = round(arguments.seconds * FRAMES_PER_S)
    slots = arguments.slots or arguments.pages + arguments.phones + arguments.browsers
    with running_cluster(arguments.checkpoint, arguments.logs, _ROOMY, slots) as cluster:
        clients = protocol_clients(
            cluster.address(),
            cluster.http_url(),
            DEMO_UTTERANCE,
            arguments.pages,
            arguments.phones,
            frames,
            arguments.patience_s,
        )
        if arguments.browsers:
            from benchmarks.chat.browser import BrowserClient  # playwright is no part of what everybody installs

            settings = [(cluster.http_url(), DEMO_UTTERANCE, frames, arguments.patience_s)] * arguments.browsers
            clients[arguments.phones : arguments.phones] = [
                BrowserClient(f"browser {number}", *each) for number, each in enumerate(settings)
            ]
        traces = asyncio.run(gather(clients))
        found = faults(traces) + complaints(cluster.log_folder)
    print(table(traces))
    for fault in found:
        print(f"fault: {fault}")
    print(summary(traces, found))
    _keep(arguments.json, as_json(traces, found))
    return EXIT_FAULTY if found else 0


def _upstream(arguments: argparse.Namespace) -> int:
    with running_cluster(arguments.checkpoint, arguments.logs) as cluster:
        seen = conversation(arguments.python, cluster.http_url(), arguments.seconds, DEMO_UTTERANCE)
        found = verdict(seen) + complaints(cluster.log_folder)
    print(json.dumps(seen, indent=2))
    for fault in found:
        print(f"fault: {fault}")
    _keep(arguments.json, seen | {"faults": found})
    return EXIT_FAULTY if found else 0


def _keep(path: Path | None, what: dict[str, object]) -> None:
    if path is not None:
        path.write_text(json.dumps(what, indent=2) + "\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chat", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    mix = commands.add_parser("crowd", help="pages and phones at the same time, in the queue where slots are fewer")
    mix.set_defaults(run=_client_mix)
    mix.add_argument("--pages", type=int, default=20, help="clients that speak as the web page does")
    mix.add_argument("--phones", type=int, default=10, help="gRPC calls, mu-law")
    mix.add_argument("--browsers", type=int, default=0, help="pages in a real Chromium (the extra web-test)")
    mix.add_argument("--slots", type=int, help="conversations at once; one each if absent")
    mix.add_argument("--seconds", type=float, default=20.0, help="length of each conversation")
    mix.add_argument("--patience-s", type=float, default=300.0, help="for one's turn, and for the rest of an answer")
    upstream = commands.add_parser("upstream", help="a conversation with the Python client of PyPI's `moshi`")
    upstream.set_defaults(run=_upstream)
    upstream.add_argument("--python", required=True, type=_program, help="an interpreter that has the package")
    upstream.add_argument("--seconds", type=float, default=30.0, help="length of the conversation")
    for command in mix, upstream:
        command.add_argument("--checkpoint", help="folder or owner/name[@revision]; the demo model if absent")
        command.add_argument("--logs", type=Path, help="folder to keep the services' logs in")
        command.add_argument("--json", type=Path, help="write everything there too")
    return parser


def _program(given: str) -> str:
    found = shutil.which(given)
    if found is None:
        raise argparse.ArgumentTypeError(f"no program {given}")
    return found


if __name__ == "__main__":
    sys.exit(main())

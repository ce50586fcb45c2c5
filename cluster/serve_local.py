"""A cluster on free ports of this machine until standard input closes: `python -m cluster.serve_local`.

Writes one line of JSON to standard output once everything serves: `grpc` is the gateway's host:port, `http` the URL of
its page. Progress goes to standard error. `moshi-cluster talk --local` uses it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from moshi_cluster.cluster.running_cluster import exit_code, running_cluster


def main(argv: list[str] | None = None) -> int:
    """Command line; the exit code is 1 when the services fail, 130 when interrupted."""
    arguments = _parser().parse_args(argv)
    return exit_code(lambda: _serve(arguments))


def _serve(arguments: argparse.Namespace) -> int:
    device = _device(arguments.device)
    environment = {"MOSHI_CODEC_DEVICE": device, "MOSHI_LM_DEVICE": device}
    with running_cluster(arguments.checkpoint, logs=arguments.logs, environment=environment) as cluster:
        print(json.dumps({"grpc": cluster.address(), "http": cluster.http_url(), "device": device}), flush=True)
        while os.read(sys.stdin.fileno(), 4096):
            pass
    return 0


def _device(given: str) -> str:
    if given != "auto":
        return given
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m cluster.serve_local", description=__doc__.partition("\n\n")[0])
    parser.add_argument("--checkpoint", help="folder or owner/name[@revision]; the demo model if absent")
    parser.add_argument("--device", default="auto", help="cpu, cuda, mps; auto takes the best there is")
    parser.add_argument("--logs", type=Path, help="folder to keep the services' logs in")
    return parser


if __name__ == "__main__":
    sys.exit(main())

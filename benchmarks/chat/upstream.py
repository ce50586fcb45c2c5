"""Conversation of Moshi's own Python client, unmodified, without a sound card, against a gateway."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from moshi_cluster.audio.frame import FRAMES_PER_S

SCRIPT = Path(__file__).with_name("upstream_client.py")
_SPARE_S = 90.0  # the package imports torch
# Kinds that the client does not know and warns of: the handshake, which its own server sends too, and metadata.
_KNOWN_REMARKS = {f"Warning: unknown message kind {kind}" for kind in (0, 4)}
# Its microphone's, when the time is up and the connection is closed under it.
_AT_THE_END = "Error: Lost connection with the server!"


def conversation(python: str, url: str, seconds: float, wav: Path) -> dict[str, Any]:
    """What the client made of it. python: an interpreter that has the package `moshi`. Raises SubprocessError."""
    command = [python, str(SCRIPT), str(urlsplit(url).port), str(seconds), str(wav)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=seconds + _SPARE_S, check=False)
    if run.returncode:
        raise subprocess.SubprocessError(f"{python} {SCRIPT.name}: {run.stderr[-2000:]}")
    *printed, last = run.stdout.splitlines()  # the client prints what ends its connection
    summary: dict[str, Any] = json.loads(last)
    return summary | {"printed": printed}


def remarks(summary: dict[str, Any]) -> set[str]:
    """What the client complained of, beyond what it says of every server."""
    return {line for line in summary["log"] if "Info" not in line} - _KNOWN_REMARKS - {_AT_THE_END}


def verdict(summary: dict[str, Any]) -> list[str]:
    """Sentences; none for a conversation without a gap."""
    found = [f"the client says: {remark}" for remark in sorted(remarks(summary))]
    if summary["lags_after_first"]:
        found.append(f"{summary['lags_after_first']} of {summary['blocks_played']} blocks were not there in time")
    if summary["blocks_played"] < summary["blocks_said"] - 2 * FRAMES_PER_S:
        found.append(f"{summary['blocks_said']} blocks said, {summary['blocks_played']} heard")
    return found

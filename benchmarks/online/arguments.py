"""Command line of the load driver."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from benchmarks.online.driver import RunOptions
from benchmarks.online.impairments import IMPAIRMENTS
from benchmarks.online.limits import Limits
from benchmarks.online.scenarios import SCENARIOS, Size
from benchmarks.online.speech import LineFormat
from moshi_cluster.clients.cli.recording import DEMO_UTTERANCE
from moshi_cluster.clients.telephony.wire_formats import ENCODINGS, ONLY_RATE_HZ


def parser() -> argparse.ArgumentParser:
    """Everything that can be asked for."""
    scenarios = "\n".join(f"  {name:<14} {scenario.summary}" for name, scenario in SCENARIOS.items())
    impairments = "\n".join(f"  {name:<14} {summary}" for name, (_, summary) in IMPAIRMENTS.items())
    made = argparse.ArgumentParser(
        prog="python -m benchmarks.online",
        description="Real-time calls to a gateway, and what callers get.",
        epilog=f"scenarios:\n{scenarios}\n\nimpairments, any of them together:\n{impairments}\n\n"
        "exit status: 0 done, 1 the run failed, 2 usage, 3 a given limit was broken, 130 interrupted",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("scenario", choices=SCENARIOS, metavar="SCENARIO", help="see below")
    _add_cluster(made.add_argument_group("cluster"))
    _add_calls(made.add_argument_group("calls"))
    _add_outcome(made.add_argument_group("outcome"))
    return made


def _add_cluster(group: argparse._ArgumentGroup) -> None:
    where = group.add_mutually_exclusive_group(required=True)
    where.add_argument("--target", metavar="HOST:PORT", help="a gateway that is there")
    where.add_argument("--local", action="store_true", help="start gateway, codec and lm on this machine for the run")
    group.add_argument(
        "--metrics", nargs="+", default=[], metavar="URL", help="with --target: /metrics of the services"
    )
    group.add_argument(
        "--slots", type=_integer(1), help="with --local: of every worker; enough for the scenario if absent"
    )
    group.add_argument("--checkpoint", help="with --local: folder or owner/name; the demo model if absent")
    group.add_argument(
        "--env",
        action="append",
        default=[],
        type=_assignment,
        metavar="NAME=VALUE",
        help="with --local: for all services",
    )


def _add_calls(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--callers", type=_integer(1), default=8, help="8 if absent")
    group.add_argument(
        "--seconds", type=_positive, default=30.0, help="length of the run, 30 if absent; a ramp has steps"
    )
    group.add_argument("--step-s", type=_positive, default=5.0, help="ramp: seconds between joins, 5 if absent")
    group.add_argument("--seed", type=_integer(0), default=1, help="of joins, impairments and sampling")
    group.add_argument("--impair", nargs="+", default=[], choices=IMPAIRMENTS, metavar="IMPAIRMENT", help="see below")
    group.add_argument("--format", choices=sorted(ENCODINGS), default="mulaw", help="both ways; mulaw if absent")
    group.add_argument("--rate", type=int, choices=(8000, 16000, 24000, 48000), default=8000, help="8000 Hz if absent")
    group.add_argument("--packet-ms", type=_integer(10, 100), default=20, help="caller's packets, 20 if absent")
    group.add_argument("--reply-packet-ms", type=_integer(10, 100), default=20, help="gateway's packets, 20 if absent")
    group.add_argument("--speech", nargs="+", type=Path, default=[DEMO_UTTERANCE], metavar="WAV", help="mono, 16 bit")
    group.add_argument("--paced", action="store_true", help="ask for replies at the pace of speech instead of at once")
    group.add_argument(
        "--loopback", action="store_true", help="calls that end at the gateway's edge: calibrates the driver"
    )
    group.add_argument("--resume", action="store_true", help="go on with a call that is lost, over a new connection")
    group.add_argument(
        "--connections", type=_integer(1), default=1, help="HTTP/2 connections that calls share, 1 if absent"
    )


def _add_outcome(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--json", type=Path, metavar="FILE", help="write all figures")
    group.add_argument("--picture", type=Path, metavar="FILE", help="draw latency over time and calls: .png or .svg")
    group.add_argument("--max-p99-ms", type=_positive, help="limit of the turnaround's p99")
    group.add_argument("--max-miss-ratio", type=_ratio, help="limit of the share of reply frames later than 80 ms")
    group.add_argument("--max-deficit", type=_integer(0), metavar="FRAMES", help="limit of the frame deficit")
    group.add_argument("--max-unserved", type=_integer(0), metavar="CALLS", help="limit of calls refused or failed")


def check(arguments: argparse.Namespace) -> str:
    """What is wrong with the arguments together, or nothing."""
    only_hz = ONLY_RATE_HZ.get(arguments.format, arguments.rate)
    if arguments.rate != only_hz:
        return f"--format {arguments.format} has {only_hz} Hz"
    if arguments.local and arguments.metrics:
        return "--metrics: known with --local"
    if not arguments.local and (arguments.slots or arguments.checkpoint or arguments.env):
        return "--slots, --checkpoint and --env go with --local"
    for path in (arguments.json, arguments.picture):
        if path is not None and not path.parent.is_dir():
            return f"{path}: no such folder"
    return ""


def size_of(arguments: argparse.Namespace) -> Size:
    """How large the run is."""
    return Size(arguments.callers, arguments.seconds, arguments.seed, arguments.step_s)


def options_of(arguments: argparse.Namespace) -> RunOptions:
    """What all calls have in common."""
    return RunOptions(
        line=LineFormat(arguments.format, arguments.rate, arguments.packet_ms, arguments.reply_packet_ms),
        impairments=[IMPAIRMENTS[name][0] for name in arguments.impair],
        seed=arguments.seed,
        loopback=arguments.loopback,
        paced_replies=arguments.paced,
    )


def limits_of(arguments: argparse.Namespace) -> Limits:
    """What the run has to keep to."""
    return Limits(arguments.max_p99_ms, arguments.max_miss_ratio, arguments.max_deficit, arguments.max_unserved)


def settings_of(arguments: argparse.Namespace, slots: int) -> dict[str, object]:
    """What belongs beside the figures: no host names, no paths."""
    left_out = {"target", "metrics", "checkpoint", "speech", "json", "picture", "local", "slots", "env"}
    settings = {name: value for name, value in vars(arguments).items() if name not in left_out}
    settings["cluster"] = "local" if arguments.local else "given"
    settings["recordings"] = len(arguments.speech)
    if arguments.local:
        settings["slots"] = slots
        settings["checkpoint"] = "given" if arguments.checkpoint else "default"
        settings["env"] = {name: value for name, value in arguments.env if "/" not in value}
    return settings


def _integer(low: int, high: int | None = None) -> Callable[[str], int]:
    def parse(text: str) -> int:
        value = int(text)
        if value < low or (high is not None and value > high):
            raise argparse.ArgumentTypeError(f"{text} is not {low} {'or more' if high is None else f'to {high}'}")
        return value

    parse.__name__ = "integer"  # what argparse calls it when the text is no number
    return parse


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not more than 0")
    return value


def _ratio(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not 0 to 1")
    return value


def _assignment(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not (name and sign):
        raise argparse.ArgumentTypeError(f"{text} is not NAME=VALUE")
    return name, value

"""The client commands of `moshi-cluster`: `talk`, a live conversation, and `converse`, one call with a recording."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Callable
from pathlib import Path

from moshi_cluster.clients.cli.access_options import access_of, add_access_options
from moshi_cluster.clients.cli.converse import CallResult, CallScript, Listener, converse
from moshi_cluster.clients.cli.persona_options import add_persona_options, persona_of
from moshi_cluster.clients.cli.recording import DEMO_UTTERANCE, Recording, read_wav, write_wav
from moshi_cluster.clients.cli.talk import command as talk
from moshi_cluster.clients.cli.talk.command import EXIT_BAD_INPUT, EXIT_CALL_FAILED, EXIT_INTERRUPTED, EXIT_OK
from moshi_cluster.clients.cli.talk.options import add_options
from moshi_cluster.clients.telephony.errors import BadInput, CallError, CallLost
from moshi_cluster.clients.telephony.resuming import resumed_words
from moshi_cluster.clients.telephony.wire_formats import ENCODINGS, ONLY_RATE_HZ, from_wire, packets
from moshi_cluster.v1 import common_pb2, gateway_pb2


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds `talk` and `converse` to a program's commands."""
    conversation = commands.add_parser("talk", help="a live conversation: microphone and loudspeaker, or files")
    add_options(conversation)
    conversation.set_defaults(run=talk.run)
    command = commands.add_parser("converse", help="one call with a recording as the caller's voice")
    command.set_defaults(run=_converse)
    command.add_argument("--target", required=True, metavar="HOST:PORT", help="the gateway")
    command.add_argument("--input", type=Path, default=DEMO_UTTERANCE, help="mono 16-bit WAV file; a sample if absent")
    command.add_argument("--output", type=Path, default=Path("reply.wav"), help="where Moshi's voice goes")
    command.add_argument("--format", choices=sorted(ENCODINGS), default="s16le", help="how audio travels, both ways")
    command.add_argument(
        "--rate", type=_between(1, 1_000_000), metavar="HZ", help="sample rate of the reply; the input's if absent"
    )
    command.add_argument("--packet-ms", type=_between(1, 1000), default=20, help="length of one packet, 1 to 1000")
    command.add_argument("--seed", type=_between(0, 2**64 - 1), help="the same seed and audio give the same reply")
    command.add_argument("--resume", action="store_true", help="go on with a call that is lost, over a new connection")
    command.add_argument("--greedy", action="store_true", help="always the likeliest token, no chance involved")
    add_persona_options(command)
    add_access_options(command)


class _Terminal(Listener):
    """Text goes to stdout as it comes, everything else to stderr."""

    def started(self, started: gateway_pb2.Started) -> None:
        print(
            f"call {started.session_id}: up after {started.setup_us / 1000:.0f} ms, seed {started.seed}",
            file=sys.stderr,
        )
        if started.HasField("resumption"):
            left = started.resumption
            print(f"[{resumed_words(left.remembered_frames, left.lost_frames)}]", file=sys.stderr)

    def lost(self, error: CallLost) -> None:
        print(f"\n[lost: {error}]", file=sys.stderr)

    def text(self, piece: str) -> None:
        print(piece, end="", flush=True)

    def event(self, event: gateway_pb2.Event) -> None:
        name = gateway_pb2.Event.Kind.Name(event.kind).removeprefix("KIND_").lower()
        print(f"\n[{name} frames={event.frames} {event.detail}]", file=sys.stderr)


def _converse(arguments: argparse.Namespace) -> int:
    try:
        recording = read_wav(arguments.input)
        script = make_script(recording, arguments)
        if not arguments.output.parent.is_dir():
            raise BadInput(f"{arguments.output}: no such folder")
        calling = converse(arguments.target, script, _Terminal(), access_of(arguments), arguments.resume)
        result = asyncio.run(calling)
        print()
        write_wav(arguments.output, _reply_recording(result, arguments.format))
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except CallError as error:
        print(f"\nerror: {error}", file=sys.stderr)
        return EXIT_CALL_FAILED
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    _print_counters(result, arguments.output)
    return EXIT_OK


def make_script(recording: Recording, arguments: argparse.Namespace) -> CallScript:
    """The recording cut to packets in the wanted format. Raises BadInput."""
    name, reply_rate_hz = arguments.format, arguments.rate or recording.rate_hz
    only_hz = ONLY_RATE_HZ.get(name)
    if only_hz and (recording.rate_hz, reply_rate_hz) != (only_hz, only_hz):
        raise BadInput(f"{arguments.input}: {name} needs {only_hz} Hz, found {recording.rate_hz} Hz")
    sampling = common_pb2.Sampling(seed=arguments.seed)
    if arguments.greedy:
        sampling.text_temperature = sampling.audio_temperature = 0.0
    start = gateway_pb2.Start(
        input_format=gateway_pb2.AudioFormat(encoding=ENCODINGS[name], sample_rate_hz=recording.rate_hz),
        output_format=gateway_pb2.AudioFormat(encoding=ENCODINGS[name], sample_rate_hz=reply_rate_hz),
        sampling=sampling,
        persona=persona_of(arguments),
    )
    packet_samples = recording.rate_hz * arguments.packet_ms // 1000
    sent = packets(recording.samples, name, packet_samples)
    return CallScript(start, sent, arguments.packet_ms / 1000)


def _reply_recording(result: CallResult, format_name: str) -> Recording:
    assert result.started is not None  # a call cannot end well without it
    return Recording(from_wire(bytes(result.audio), format_name), result.started.output_format.sample_rate_hz)


def _print_counters(result: CallResult, output: Path) -> None:
    assert result.ended is not None
    reason = gateway_pb2.Ended.Reason.Name(result.ended.reason).removeprefix("REASON_").lower()
    counters = " ".join(f"{field.name}={value}" for field, value in result.ended.counters.ListFields())
    print(f"call ended ({reason}): {counters}\nreply written to {output}", file=sys.stderr)


def _between(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        value = int(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text} is not between {low} and {high}")
        return value

    parse.__name__ = "integer"  # what argparse calls it when the text is no number
    return parse

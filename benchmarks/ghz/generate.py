"""ghz messages: writes the arrays that the configurations name, `python -m benchmarks.ghz.generate`."""

from __future__ import annotations

import json
import random
import sys
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from moshi_cluster.audio.frame import FRAME_SAMPLES
from moshi_cluster.audio.spectral_resample import resample_loop
from moshi_cluster.clients.cli.recording import Recording, read_wav
from moshi_cluster.clients.telephony.wire_formats import ENCODINGS, to_float, to_s16, to_wire
from moshi_cluster.v1 import codec_pb2, common_pb2, gateway_pb2, lm_pb2

FOLDER = Path("build/ghz")
_PHONE_MS = 20
_LONG_MS = 500  # the second message comes after a refusal, never across it: ghz would count the refused call OK
WORKER_FRAMES = 375  # 30 s
_CODEBOOKS = 8
_CODES = 256  # per codebook of the small checkpoint; the published one has more
_UTTERANCE = Path(__file__).resolve().parents[2] / "clients" / "cli" / "demo_utterance.wav"


def write_all(folder: Path = FOLDER) -> list[Path]:
    """Writes every file anew."""
    speech = read_wav(_UTTERANCE)
    arrays: dict[str, Iterator[Message]] = {
        "converse-s16le-24k-20ms.json": converse(speech, "s16le", _PHONE_MS),
        "converse-s16le-24k-500ms.json": converse(speech, "s16le", _LONG_MS),
        "converse-mulaw-8k-20ms.json": converse(at_a_third(speech), "mulaw", _PHONE_MS),
        "encode.json": encode(speech, WORKER_FRAMES),
        "generate.json": generate(WORKER_FRAMES),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, messages in arrays.items():
        rows = [MessageToDict(message, preserving_proto_field_name=True) for message in messages]
        (folder / name).write_text("[\n" + ",\n".join(map(json.dumps, rows)) + "\n]\n", encoding="ascii")
    return [folder / name for name in arrays]


def converse(speech: Recording, encoding: str, packet_ms: int) -> Iterator[gateway_pb2.ConverseRequest]:
    """A call that may be looped for as long as wanted.

    `start` takes a turn of every loop and carries no audio, so the message after it carries two packets: the loop is as
    long in audio as it is in turns, and the caller's clock is right.
    """
    line = gateway_pb2.AudioFormat(encoding=ENCODINGS[encoding], sample_rate_hz=speech.rate_hz)
    yield gateway_pb2.ConverseRequest(start=gateway_pb2.Start(input_format=line))
    samples = speech.rate_hz * packet_ms // 1000
    packets = [
        to_wire(speech.samples[first : first + samples], encoding)
        for first in range(0, len(speech.samples) - samples + 1, samples)
    ]
    for data in [packets[0] + packets[1], *packets[2:]]:
        yield gateway_pb2.ConverseRequest(audio=gateway_pb2.Audio(data=data))


def encode(speech: Recording, frames: int) -> Iterator[codec_pb2.PcmFrame]:
    """A whole stream, never to be looped: frame numbers may not repeat."""
    loop: Sequence[array[int]] = [
        speech.samples[first : first + FRAME_SAMPLES]
        for first in range(0, len(speech.samples) - FRAME_SAMPLES + 1, FRAME_SAMPLES)
    ]
    for index in range(frames):
        yield codec_pb2.PcmFrame(pcm_f32le=to_wire(loop[index % len(loop)], "f32le"), frame_index=index)


def generate(frames: int) -> Iterator[lm_pb2.GenerateRequest]:
    """A whole session, never to be looped: `open` comes once and frame numbers may not repeat.

    The codes are drawn evenly: what the user says makes no difference to the time that a step takes.
    """
    yield lm_pb2.GenerateRequest(open=lm_pb2.GenerateRequest.Open(sampling=common_pb2.Sampling(seed=1)))
    noise = random.Random(1)
    for index in range(frames):
        frame = lm_pb2.GenerateRequest.UserFrame(
            codes=[noise.randrange(_CODES) for _ in range(_CODEBOOKS)], frame_index=index
        )
        yield lm_pb2.GenerateRequest(frame=frame)


def at_a_third(speech: Recording) -> Recording:
    """The recording at a third of its rate; it is looped, so the change is exact."""
    count = len(speech.samples) // 3
    narrow = resample_loop(to_float(speech.samples[: 3 * count]), count)
    return Recording(to_s16(narrow), speech.rate_hz // 3)


def main() -> int:
    """Command line."""
    for path in write_all():
        print(f"{path}: {path.stat().st_size / 1e6:.1f} MB", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""`moshi-cluster talk`: its options, and what they put together."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from pathlib import Path
from types import FrameType

from moshi_cluster.audio.frame import MODEL_RATE_HZ
from moshi_cluster.audio.spectral_resample import resample_recording
from moshi_cluster.clients.cli.access_options import access_of
from moshi_cluster.clients.cli.persona_options import persona_of
from moshi_cluster.clients.cli.recording import read_wav
from moshi_cluster.clients.cli.talk.address import shown
from moshi_cluster.clients.cli.talk.connection import CallOptions, Connection
from moshi_cluster.clients.cli.talk.conversation import Recorders, State, hold
from moshi_cluster.clients.cli.talk.devices import DeviceSound, NoSound, list_devices
from moshi_cluster.clients.cli.talk.local import LocalError, local_gateway
from moshi_cluster.clients.cli.talk.resuming_connection import ResumingConnection
from moshi_cluster.clients.cli.talk.sound import FileSound, Sound
from moshi_cluster.clients.cli.talk.view import PlainView, View, summary
from moshi_cluster.clients.cli.talk.wav import WavWriter
from moshi_cluster.clients.telephony.errors import BadInput, CallError
from moshi_cluster.clients.telephony.wire_formats import S16Samples, to_float, to_s16

EXIT_OK, EXIT_CALL_FAILED, EXIT_BAD_INPUT, EXIT_INTERRUPTED = 0, 1, 2, 130
_SHOW_PERIOD_S = 0.125
_LOCAL_SLOTS = 2  # a connection that was lost may hold one a little longer
_INSTALL = "pip install '.[talk]'"
_TERMINATIONS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


def run(arguments: argparse.Namespace) -> int:
    """Holds the conversation; returns the exit code: 1 the call failed, 2 nothing to talk with, 130 interrupted."""
    for number in _TERMINATIONS:  # they too leave the terminal as it was and stop what was started
        with contextlib.suppress(ValueError):  # not the main thread
            signal.signal(number, _interrupt)
    try:
        if arguments.list_devices:
            print(list_devices())
            return EXIT_OK
        if not (arguments.target or arguments.local):
            raise BadInput("talk to whom? --target HOST:PORT, --target http://HOST:8998, or --local")
        return _run(arguments)
    except (CallError, LocalError) as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_CALL_FAILED
    except (BadInput, NoSound) as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except (KeyboardInterrupt, asyncio.CancelledError):
        return EXIT_INTERRUPTED


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _run(arguments: argparse.Namespace) -> int:
    spoken = _recording(arguments.input) if arguments.input else None
    if spoken is None:
        DeviceSound(arguments.microphone, arguments.loudspeaker)  # says what is missing before anything is started
    with ExitStack() as stack:
        recorders = Recorders(
            stack.enter_context(WavWriter(arguments.output)) if arguments.output else None,
            stack.enter_context(WavWriter(arguments.record, channels=2)) if arguments.record else None,
        )
        target = arguments.target or stack.enter_context(local_gateway(_local_options(arguments)))
        state = State(shown(target))
        asyncio.run(_talk(target, state, arguments, spoken, recorders))
    print(summary(state), file=sys.stderr)
    for path in filter(None, (arguments.output, arguments.record)):
        print(f"written: {path}", file=sys.stderr)
    return EXIT_OK


async def _talk(
    target: str, state: State, arguments: argparse.Namespace, spoken: S16Samples | None, recorders: Recorders
) -> None:
    sound: Sound = (
        DeviceSound(arguments.microphone, arguments.loudspeaker)
        if spoken is None
        else FileSound(spoken, arguments.tail_s)
    )
    with _view(arguments.plain) as view, _interruptible(state, sound):
        async with _shown(view, state), _conversation(target, arguments) as connection:
            await hold(connection, sound, state, recorders)


@asynccontextmanager
async def _conversation(target: str, arguments: argparse.Namespace) -> AsyncIterator[Connection]:
    options = _call_options(arguments)
    if "://" not in target:
        from moshi_cluster.clients.cli.talk.grpc_connection import grpc_connection

        async with grpc_connection(target, options, arguments.resume) as call:
            yield call
    elif arguments.resume:
        yield ResumingConnection(functools.partial(_chat_connection, target), options)
    else:
        async with _chat_connection(target, options) as chat:
            yield chat


def _chat_connection(target: str, options: CallOptions) -> AbstractAsyncContextManager[Connection]:
    try:
        from moshi_cluster.clients.cli.talk.chat_connection import chat_connection
    except ImportError as error:
        raise BadInput(f"{shown(target)}: needs the package {error.name} ({_INSTALL}); host:port does not") from error
    return chat_connection(target, options)


def _view(plain: bool) -> View:
    if plain or not sys.stdout.isatty():
        return PlainView()
    try:
        from moshi_cluster.clients.cli.talk.screen import Screen
    except ImportError:
        print(f"plain text only: the package rich is missing ({_INSTALL})", file=sys.stderr)
        return PlainView()
    return Screen()


@asynccontextmanager
async def _shown(view: View, state: State) -> AsyncIterator[None]:
    async def show() -> None:
        while True:
            view.show(state)
            await asyncio.sleep(_SHOW_PERIOD_S)

    showing = asyncio.create_task(show())
    try:
        yield
    finally:
        showing.cancel()
        await asyncio.gather(showing, return_exceptions=True)
        view.show(state)


@contextlib.contextmanager
def _interruptible(state: State, sound: Sound) -> Iterator[None]:
    """Ctrl-C hangs up as people do; where there is nothing to hang up yet, or again, it ends everything at once."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()

    def interrupt() -> None:
        if state.phase != "talking" and task is not None:
            task.cancel()
        state.phase = "hanging up"
        sound.stop()

    with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):  # Windows, or not the main thread
        loop.add_signal_handler(signal.SIGINT, interrupt)
    yield


def _recording(path: Path) -> S16Samples:
    """The samples of a WAV file, at the model's rate."""
    recording = read_wav(path)
    if recording.rate_hz == MODEL_RATE_HZ:
        return recording.samples
    return to_s16(resample_recording(to_float(recording.samples), MODEL_RATE_HZ / recording.rate_hz))


def _call_options(arguments: argparse.Namespace) -> CallOptions:
    return CallOptions(
        seed=arguments.seed,
        greedy=arguments.greedy,
        loopback=arguments.loopback,
        persona=persona_of(arguments),
        access=access_of(arguments),
    )


def _local_options(arguments: argparse.Namespace) -> list[str]:
    options = [] if arguments.device == "auto" else ["--device", arguments.device]
    options += [] if arguments.checkpoint is None else ["--checkpoint", arguments.checkpoint]
    return [*options, "--slots", str(_LOCAL_SLOTS)]

"""The log writer beside descriptors that take nothing."""

from __future__ import annotations

import os
import threading
import time

import pytest

from moshi_cluster.services.common.log_writer import LogWriter

_PATIENCE_S = 60.0
_AT_ONCE_S = 0.05


class Pipe:
    """A pipe that somebody reads or does not."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()

    def fill(self) -> None:
        """Leaves no room in it."""
        os.set_blocking(self.writer, False)
        try:
            while True:
                os.write(self.writer, b"x" * 4096)
        except BlockingIOError:
            os.set_blocking(self.writer, True)

    def read_to_the_end(self) -> str:
        """All that comes until its writers are gone."""
        with os.fdopen(self.reader) as reader:
            return reader.read()


@pytest.fixture
def pipe() -> Pipe:
    return Pipe()


def notice(dropped: int) -> str:
    return f"dropped {dropped}\n"


def test_texts_are_written_in_order_and_closing_waits_for_them(pipe: Pipe) -> None:
    writer = LogWriter(pipe.writer, notice, lambda why: None)
    for number in range(1000):
        writer.write(f"{number}\n")
    writer.close(_PATIENCE_S)
    assert pipe.read_to_the_end() == "".join(f"{number}\n" for number in range(1000))


def test_who_writes_to_a_pipe_that_nobody_reads_does_not_wait_and_what_is_dropped_is_counted_and_told(
    pipe: Pipe,
) -> None:
    dropped: list[str] = []
    pipe.fill()
    writer = LogWriter(pipe.writer, notice, dropped.append, most_lines=3)
    for number in range(100):
        writer.write(f"line {number}\n")  # would stand still here
    assert 96 <= len(dropped) <= 97  # three wait, and perhaps a fourth is with the thread
    assert set(dropped) == {"full"}

    reading = threading.Thread(target=lambda: read.append(pipe.read_to_the_end()))
    read: list[str] = []
    reading.start()
    writer.close(_PATIENCE_S)
    reading.join(_PATIENCE_S)
    assert f"dropped {len(dropped)}\n" in read[0]
    assert read[0].rstrip().endswith("line 2") or read[0].rstrip().endswith("line 3")


def test_closing_has_a_deadline(pipe: Pipe) -> None:
    pipe.fill()
    writer = LogWriter(pipe.writer, notice, lambda why: None)
    writer.write("never read\n")
    closing = threading.Thread(target=writer.close, args=(_AT_ONCE_S,))
    closing.start()
    closing.join(_PATIENCE_S)
    assert not closing.is_alive()
    os.close(pipe.reader)  # ends the thread's write


def test_a_full_disk_is_counted_and_told_once_there_is_room() -> None:
    dropped: list[str] = []
    full = os.open("/dev/full", os.O_WRONLY)
    writer = LogWriter(full, notice, dropped.append)
    for number in range(5):
        writer.write(f"line {number}\n")
    while len(dropped) < 5:
        time.sleep(0.001)
    assert dropped == ["failed"] * 5
    reader, room = os.pipe()
    os.dup2(room, full)
    os.close(room)
    writer.write("line 5\n")
    writer.close(_PATIENCE_S)
    with os.fdopen(reader) as text:
        assert text.read() == "dropped 5\nline 5\n"


def test_a_closed_descriptor_is_counted() -> None:
    dropped: list[str] = []
    writer = LogWriter(-1, notice, dropped.append)
    writer.write("a line\n")
    writer.close(_PATIENCE_S)
    assert dropped == ["failed"]


def test_a_pipe_that_somebody_made_non_blocking_is_waited_for(pipe: Pipe) -> None:
    pipe.fill()
    os.set_blocking(pipe.writer, False)
    dropped: list[str] = []
    writer = LogWriter(pipe.writer, notice, dropped.append)
    writer.write("a line\n")
    read: list[str] = []
    reading = threading.Thread(target=lambda: read.append(pipe.read_to_the_end()))
    reading.start()
    writer.close(_PATIENCE_S)
    reading.join(_PATIENCE_S)
    assert read[0].endswith("xa line\n")
    assert not dropped

"""Recorded callers for clusters without a synthesiser."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest

from moshi_cluster.audio import g711
from moshi_cluster.cluster.recorded_callers import INDEX
from tests.training.world.fake_voices import fake_voices  # noqa: F401
from training.world.export_questions import enough, export
from training.world.session import SoundSession, generate

pytestmark = pytest.mark.usefixtures("fake_voices")


@pytest.fixture(scope="module")
def sessions(fake_voices: None) -> list[SoundSession]:  # noqa: F811
    return [generate(number, "eval") for number in range(4)]


def test_files_hold_the_caller_as_a_telephone_sends_it(tmp_path: Path, sessions: list[SoundSession]) -> None:
    session = sessions[0]
    export([session], tmp_path)
    [call] = json.loads((tmp_path / INDEX).read_text())
    content = (tmp_path / call["file"]).read_bytes()
    encoding, channels, rate_hz = struct.unpack_from("<HHI", content, 20)
    assert (content[:4], encoding, channels, rate_hz) == (b"RIFF", 7, 1, 8000)
    data = content[content.index(b"data") + 8 :]
    assert len(data) == len(session.user) // 3
    decoded = g711.MULAW_TO_S16[np.frombuffer(data, np.uint8)].astype(float)
    original = session.user[::3].astype(float)
    assert np.corrcoef(decoded, original)[0, 1] > 0.9


def test_the_index_has_the_answers_and_their_times(tmp_path: Path, sessions: list[SoundSession]) -> None:
    count = export(sessions, tmp_path)
    calls = json.loads((tmp_path / INDEX).read_text())
    turns = [turn for call in calls for turn in call["turns"]]
    assert [turn["reply_text"] for turn in turns] == [turn.reply_text for call in sessions for turn in call.turns]
    assert count == sum(not turn["interrupted"] for turn in turns)


def test_there_are_enough_exchanges_and_not_a_call_more(sessions: list[SoundSession]) -> None:
    chosen = list(enough(sessions, 6))
    whole = [sum(not turn.interrupted for turn in session.turns) for session in chosen]
    assert sum(whole) >= 6
    assert sum(whole[:-1]) < 6


def test_the_recordings_of_the_repository_are_whole_and_small() -> None:
    folder = Path(__file__).parents[2] / "exchanges"
    calls = json.loads((folder / INDEX).read_text())
    assert sum(not turn["interrupted"] for call in calls for turn in call["turns"]) >= 20
    for call in calls:
        content = (folder / call["file"]).read_bytes()
        assert len(content) - content.index(b"data") - 8 == round(call["seconds"] * 8000)
    assert sum(file.stat().st_size for file in folder.iterdir()) < 2_000_000

"""The random PersonaPlex of the benchmark takes its prompts, of the length that was asked for."""

from __future__ import annotations

from pathlib import Path

from benchmarks.personas.__main__ import table
from benchmarks.personas.checkpoint import VOICE, make_persona_checkpoint
from moshi_cluster.services.lm.loading import load
from moshi_cluster.services.lm.settings import LmSettings


def test_it_is_served_and_its_voice_has_the_frames_that_were_asked_for(tmp_path: Path) -> None:
    make_persona_checkpoint(tmp_path, "small", 100)
    model = load(LmSettings(checkpoint=str(tmp_path), slots=1))
    assert len(model.prompt("", VOICE).frames) == 112
    assert model.context_frames == 299


def test_each_kind_of_prompt_has_a_row() -> None:
    rows = table(412, {"none": [4.0, 5.0, 6.0], "kept": [5.0], "new": [81.0]}).splitlines()
    assert [row.replace("|", "").split() for row in rows[2:]] == [
        ["none", "0", "4.0", "5.0", "6.0"],
        ["kept", "412", "5.0", "5.0", "5.0"],
        ["new", "412", "81.0", "81.0", "81.0"],
    ]

"""Voices of an lm: found in its checkpoint, read, and each short enough for a prompt."""

from __future__ import annotations

from pathlib import Path

from moshi_cluster.models.loading import CheckpointError, FileNames, Part, resolve
from moshi_cluster.models.loading.mimi import load_mimi
from moshi_cluster.models.loading.voices import find_voices, load_voices
from moshi_cluster.models.mimi import Mimi
from moshi_cluster.models.moshi_lm import LmConfig
from moshi_cluster.models.moshi_lm.prompt import SPACER_FRAMES, Voice
from moshi_cluster.services.lm.recordings import recording_encoder
from moshi_cluster.services.lm.settings import LmSettings

_SPACERS_FRAMES = 2 * SPACER_FRAMES  # before and after the text


def voices_of(settings: LmSettings, config: LmConfig, most_frames: int) -> tuple[dict[str, Voice], list[Path]]:
    """By name, and the files that they are from; a model that takes no prompts has none. Raises CheckpointError.

    most_frames: of a prompt. Mimi is loaded, for as long as this takes, only if there are recordings.
    """
    if config.prompt_codes is None:
        if settings.voices is not None:
            raise CheckpointError("voices: the checkpoint takes no prompts")
        return {}, []
    path = find_voices(settings.hf_repo or settings.checkpoint, settings.voices)
    if path is None:
        return {}, []
    most_voice_frames = most_frames - _SPACERS_FRAMES
    voices = load_voices(path, config, recording_encoder(lambda: _mimi(settings), most_voice_frames))
    for name, voice in voices.items():
        if len(voice.frames) > most_voice_frames:
            took = f"{len(voice.frames)} frames, at most {most_voice_frames} fit a prompt"
            raise CheckpointError(f"{path}: {name}: {took} (max_prompt_frames, context)")
    return voices, [file for file in sorted(path.iterdir()) if file.is_file()] if path.is_dir() else [path]


def _mimi(settings: LmSettings) -> Mimi:
    """The checkpoint's, on the CPU: the card is the LM's."""
    try:
        return load_mimi(resolve(settings.hf_repo or settings.checkpoint, FileNames(config=settings.config), Part.MIMI))
    except CheckpointError as error:
        raise CheckpointError(f"no Mimi to encode it with: {error}") from error

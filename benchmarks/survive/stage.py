"""Stage of a run: those who talk on it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, Self

import numpy as np

from benchmarks.survive.conversation import Conversation, Voice
from benchmarks.survive.supervisor import Supervisor

_JOIN_PERIOD_S = 0.13  # callers are out of step with each other, as people are
_NEWCOMER_PERIOD_S, _NEWCOMER_S = 2.0, 4.0
_COME_AND_GO_S, _PAUSE_S = (10.0, 60.0), (0.5, 3.0)
_CALL_S = 600.0  # longer than any scenario: callers hang up
_HANG_UP_S = 30.0  # a call may take so long to end


class Stage:
    """Who talks. An async context manager: leaving it waits until everybody has hung up."""

    def __init__(
        self, supervisor: Supervisor, voices: Sequence[Voice], jitter_allowance_ms: int, resumes: bool
    ) -> None:
        """jitter_allowance_ms: of all calls. resumes: callers call again who lose their call."""
        self.conversations: list[Conversation] = []
        self.calls_made = 0
        self._supervisor = supervisor
        self._voices = voices
        self._jitter_allowance_ms = jitter_allowance_ms
        self._resumes = resumes
        self._calls: list[asyncio.Task[None]] = []
        self._comings: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        for coming in self._comings:
            coming.cancel()
        await _end(self._comings)
        for conversation in self.conversations:
            conversation.hang_up()
        await _end(self._calls)

    def call(self, voice: Voice, seconds: float = _CALL_S) -> asyncio.Task[None]:
        """Somebody calls; ends with the conversation."""
        gateways, allowance_ms = self._supervisor.gateways, self._jitter_allowance_ms
        conversation = Conversation(voice, gateways, seconds, allowance_ms, self._resumes)
        self.conversations.append(conversation)
        self.calls_made += 1
        self._calls.append(asyncio.create_task(conversation.hold()))
        return self._calls[-1]

    async def join(self, voices: Sequence[Voice]) -> None:
        """These call, one after the other."""
        for voice in voices:
            self.call(voice)
            await asyncio.sleep(_JOIN_PERIOD_S)

    def newcomers(self) -> None:
        """From now on somebody calls for a few seconds, again and again."""
        self._come(self._keep_coming())

    def come_and_go(self, seed: int) -> None:
        """From now on each of the callers makes calls of 10 to 60 s, with pauses."""
        for voice in self._voices:
            self._come(self._call_again_and_again(voice, np.random.default_rng((seed, voice.number))))

    def forget_before(self, at_s: float) -> None:
        """Conversations that had ended by then are kept no longer."""
        self.conversations[:] = [one for one in self.conversations if one.ended_s >= at_s]
        for call in [call for call in self._calls if call.done()]:
            call.result()
            self._calls.remove(call)

    def _come(self, coming: Coroutine[Any, Any, None]) -> None:
        self._comings.append(asyncio.create_task(coming))

    async def _keep_coming(self) -> None:
        number = 0
        while True:
            self.call(self._voices[number % len(self._voices)], _NEWCOMER_S)
            await asyncio.sleep(_NEWCOMER_PERIOD_S)
            number += 1

    async def _call_again_and_again(self, voice: Voice, random: np.random.Generator) -> None:
        while True:
            await asyncio.wait([self.call(voice, float(random.uniform(*_COME_AND_GO_S)))])
            await asyncio.sleep(float(random.uniform(*_PAUSE_S)))


async def _end(tasks: Sequence[asyncio.Task[None]]) -> None:
    """What does not end in time is given up: its call counts as lost."""
    if tasks:
        _, endless = await asyncio.wait(tasks, timeout=_HANG_UP_S)
        for task in endless:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in tasks:
        if not task.cancelled():
            task.result()
